"""Sound: front ends and encoders, sound files, and the conditions under which a model is tested."""
