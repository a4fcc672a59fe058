"""Networks: float models of layers, how they become integers, and the integer programs that run."""
