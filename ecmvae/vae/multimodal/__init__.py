"""VAEs over several modalities of one thing, any of which may be missing.

`MVAE` product of experts, `MMVAE` mixture of experts, `MoPoE` both, `MMJSD` a mixture with a Jensen-Shannon divergence,
`JMVAE` a joint encoder, `DMVAE` and `MMVAEPlus` shared and private latents.
"""

from ecmvae.vae.multimodal.base import MultimodalOutput, MultimodalVAE
from ecmvae.vae.multimodal.mixture import MMJSD, MMVAE, MoPoE
from ecmvae.vae.multimodal.private import DMVAE, MMVAEPlus, SharedPrivateHead
from ecmvae.vae.multimodal.product import JMVAE, MVAE

__all__ = [
    "DMVAE",
    "JMVAE",
    "MMJSD",
    "MMVAE",
    "MVAE",
    "MMVAEPlus",
    "MoPoE",
    "MultimodalOutput",
    "MultimodalVAE",
    "SharedPrivateHead",
]
