"""How good predictions are, and how close two sets of outputs are.

What is right comes first: labels are compared by ``(y, predicted)``, scores of classes by ``(y, score)``, values by
``(y, predicted)``. The figures are those of scikit-learn's functions; a share of nothing is 0, without a warning.
`Predictor.evaluate` computes them by name.
"""

from qlite.metrics.labels import accuracy, confusion_matrix, f1, precision, recall
from qlite.metrics.scores import cross_entropy, roc_auc, top_k_accuracy
from qlite.metrics.signal import sqnr_db
from qlite.metrics.values import mae, mse, r2, rmse

__all__ = [
    "accuracy",
    "confusion_matrix",
    "cross_entropy",
    "f1",
    "mae",
    "mse",
    "precision",
    "r2",
    "recall",
    "rmse",
    "roc_auc",
    "sqnr_db",
    "top_k_accuracy",
]
