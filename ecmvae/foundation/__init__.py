"""Foundation models: pretrained networks of others that hear and see. The only door to transformers.

Their weights are folders of the Hugging Face hub, downloaded by `ecmvae fetch` and by nothing else
(`ecmvae.hub.catalogue`), and read here without pickles, without code of theirs and without a network
(`ecmvae.foundation.loading`). A network each has a file of its own.
"""
