"""Sight: backbones that turn frames into feature maps at strides 4, 8, 16 and 32."""
