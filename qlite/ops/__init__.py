"""Products, convolutions, pools and tables on quantized arrays."""
