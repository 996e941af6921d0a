"""The page of `ecmvae app` as a Space of the Hugging Face hub, which sets SPACE_HOST to the name that visitors use.

Copy this folder's files into a Space with the Gradio SDK. Locally: python app.py, then http://127.0.0.1:7860.
"""

import os

from ecmvae.serving.command import app

if __name__ == "__main__":
    space = os.environ.get("SPACE_HOST", "")
    app(
        checkpoint=os.environ.get("ECMVAE_CHECKPOINT"),
        host="0.0.0.0" if space else "127.0.0.1",
        port=int(os.environ.get("PORT", "7860")),
        allowed_hosts=[space] if space else None,
        max_megabytes=100,
        max_seconds=30.0,
        visitor_megabytes=300,
    )
