"""Visual and audio backbones: generic networks that know nothing of segmentation."""
