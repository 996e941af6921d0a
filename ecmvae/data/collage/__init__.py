"""AVS-Collage: photographic cut-outs on photos with their own recordings, composed on the fly or written to disk."""
