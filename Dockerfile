# The page of `ecmvae app` on a CPU, as a user without rights:
#   docker build -t ecmvae .
#   docker run --rm -p 127.0.0.1:7860:7860 -e ECMVAE_APP_PASSWORD=word ecmvae
# Other commands: docker run --rm -v "$PWD:/data" ecmvae predict /data/dog.mp4 --out /data/dog.overlay.mp4
FROM python:3.11-slim AS build
COPY . /source
WORKDIR /source
RUN pip install --no-cache-dir --require-hashes -r tools/installer.txt && uv build --wheel --out-dir /wheel

FROM python:3.11-slim
COPY --from=build /wheel /wheel
COPY tools/installer.txt requirements.txt /wheel/
RUN pip install --no-cache-dir --require-hashes -r /wheel/installer.txt \
    && uv pip install --system --no-cache --constraints /wheel/requirements.txt "$(ls /wheel/*.whl)[onnx,app]" \
    && rm -r /wheel \
    && useradd --create-home ecmvae
USER ecmvae
WORKDIR /home/ecmvae
EXPOSE 7860
ENTRYPOINT ["ecmvae"]
CMD ["app", "--host", "0.0.0.0"]
