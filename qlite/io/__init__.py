"""Models and arrays in files: qlite's own, TensorFlow Lite's, scikit-learn's models, checkpoints, data sets."""
