"""Training of float models, and of models that will be quantized."""
