"""TensorFlow Lite files, read and written."""
