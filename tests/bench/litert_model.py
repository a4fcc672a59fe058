"""LiteRT as a contender, driven from Python: input set, invoked, output read."""

from ..litert_file import model
from .harness import Work


def work(operators, x, threads=1, result_of=lambda array: array):
    """The work of one call from Python: set_tensor, invoke, get_tensor."""
    return work_of_bytes(model(operators), x, threads, result_of)


def work_of_bytes(content, x, threads=1, result_of=lambda array: array):
    """The same of a model that is written already; `result_of` gets all its outputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    targets = [details["index"] for details in interpreter.get_output_details()]

    def call():
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return [interpreter.get_tensor(target) for target in targets]

    return Work(call, lambda: result_of(*call()))
