"""Reports, pictures and timing of quantized models."""
