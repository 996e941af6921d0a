"""The page of `ecmvae app`, its jobs and its limits."""
