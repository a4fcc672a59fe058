"""Float models: graphs of layers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy, deepcopy
from typing import Any

import numpy as np

from qlite import _check
from qlite._public import public
from qlite.nn import graph
from qlite.nn.graph import Graph
from qlite.nn.layers.layer import Layer, Shape, as_read, finite_float32
from qlite.nn.layers.weighted import Weighted
from qlite.nn.lower import Builder
from qlite.nn.model_grids import ModelGrids
from qlite.nn.predictor import PROBABILITIES, VALUES, Predictor
from qlite.nn.shown_names import shown_names
from qlite.nn.summary import Summary, summary_of


@public
class Model(Predictor):
    """A float model whose layers form a directed graph, with one or several inputs and outputs.

    Made of what called layers give, as in Keras, or of a list of nodes. Layers that are not made of weights get theirs
    here.

    Parameters
    ----------
    inputs : Symbol or sequence of Symbol
        What `Input` gave. With `nodes`: a dict of shapes of samples by name.
    outputs : Symbol or sequence of Symbol
        What layers gave. With `nodes`: names of these.
    seed : int
        Of the weights that are made here.
    mean, scale : array_like of a real floating dtype, of the shape of a sample's last axis, optional
        The first layers get ``(x - mean) / scale`` of the only input: zeros and ones by default. This stays float32 in
        every quantized form.
    task : {"multiclass", "binary", "one_vs_rest", "regression", "multioutput"}, optional
        What the raw outputs are, see `Sequential`; by default "multiclass" for a vector of several values, "regression"
        for a single one, and else "multioutput".
    classes : array_like, optional
        The labels, sorted; 0, 1, 2... by default.
    nodes : sequence of (str, Layer, str or sequence of str), optional
        Name, layer, and the names of the inputs and nodes that it reads, in any order.

    Attributes
    ----------
    inputs : dict of tuple of int
        The shapes of samples, by the names of the inputs.
    outputs : tuple of str
        The names of the layers that give the outputs.
    layers : list of Layer
        In an order in which each reads what came before.
    names : list of str
        Theirs, numbered by kind unless they have one.
    sources : list of tuple of str
        The names of what each of them reads.
    dtypes : dict of str
        Those of the inputs, by their names: "float32", or "int32" of what an `Embedding` reads.
    shapes : dict of tuple of int
        The shapes of samples of all values: inputs, layers and, where there is a mean, "normalized".
    history : History or None
        What happened in training, of a model that `train` returned.

    Raises
    ------
    MemoryError
        A result of which a single sample is larger than the machine's memory.
    TypeError, ValueError
        Something else than symbols, layers or names; a cycle, an input or node that nothing reads, a name that is
        unknown or repeats or that buffers of the integer program have, a layer in two places; layers that do not fit
        together; a task or classes that the outputs do not fit; a mean that is not finite, a scale that is not normal
        and positive, or either with several inputs.

    Examples
    --------
    >>> import numpy as np, qlite as ql
    >>> x = ql.Input((4,))
    >>> y = ql.Dense(units=8, activation="relu")(x)
    >>> z = ql.Dense(units=2)(ql.Concatenate()(x, y))
    >>> m = ql.Model(x, z)
    >>> m
    Model(264 bytes, multiclass)
      dense_1: Dense(4 -> 8, relu) <- input
      concatenate_1: Concatenate(axis -1) <- input, dense_1
      dense_2: Dense(12 -> 2) <- concatenate_1
    >>> m(np.zeros((3, 4))).shape
    (3, 2)
    >>> nodes = [("sum", ql.Add(), ("left", "right")), ("head", ql.Dense(np.eye(2)), "sum")]
    >>> m = ql.Model({"left": (2,), "right": (2,)}, "head", nodes=nodes)
    >>> m({"left": np.ones((1, 2)), "right": np.zeros((1, 2))})
    array([[1., 1.]], dtype=float32)
    """

    history: Any = None

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        *,
        seed: int = 0,
        mean: Any = None,
        scale: Any = None,
        task: str | None = None,
        classes: Any = None,
        nodes: Any = None,
    ) -> None:
        found = graph.of_symbols(inputs, outputs) if nodes is None else graph.of_nodes(inputs, outputs, nodes)
        self._make(found, seed=seed, mean=mean, scale=scale, task=task, classes=classes)

    def _make(self, found: Graph, *, seed: int, mean: Any, scale: Any, task: str | None, classes: Any) -> None:
        self.inputs, self.outputs = found.inputs, found.outputs
        self.names = [node.name for node in found.nodes]
        self.layers = [node.layer for node in found.nodes]
        self.sources = [node.sources for node in found.nodes]
        self.shapes = dict(found.inputs)
        self._build(np.random.default_rng(seed))
        self.dtypes, self._limits = self._find_dtypes()
        self.mean, self.scale = self._normalization(mean, scale)
        if self.mean is not None:
            (only,) = self.inputs
            self.sources = [tuple("normalized" if s == only else s for s in read) for read in self.sources]
            self.shapes["normalized"] = self.shapes[only]
        shapes = [self.shapes[name] for name in self.outputs]
        is_vector = len(shapes) == 1 and len(shapes[0]) == 1
        units = shapes[0][-1] if is_vector else 0
        if task is None:
            task = "multioutput" if not is_vector else "multiclass" if units > 1 else "regression"
        self._set_task(task, classes, units)
        self.grids: ModelGrids | None = None  # those of training with a scheme

    def _build(self, rng: "np.random.Generator") -> None:
        """Make missing weights in the order of the layers, and find the shapes of their results."""
        for name, layer, read in zip(self.names, self.layers, self.sources, strict=True):
            shapes = [self.shapes[source] for source in read]
            if not read if layer.arity is None else len(read) != layer.arity:
                expected = "at least one" if layer.arity is None else layer.arity
                raise ValueError(
                    f"layer {name!r}: {layer!r}: expected {expected} to read, got {len(read)}: {list(read)}"
                )
            try:
                layer.build(rng, *shapes)
                self.shapes[name] = layer.infer(*shapes)
            except ValueError as error:
                given = ", ".join(f"{source!r}" for source in read)
                raise ValueError(f"layer {name!r}: {layer!r}: {error}, which {given} gives") from None
        for name in self.names:
            _check.memory(f"layer {name!r}", self.shapes[name], np.float32)

    def _find_dtypes(self) -> tuple[dict[str, str], dict[str, int | None]]:
        """The dtypes of the inputs, and what indices are below, by the layers that read them."""
        dtypes: dict[str, str] = {}
        limits: dict[str, int | None] = dict.fromkeys(self.inputs)
        for name, layer, read in zip(self.names, self.layers, self.sources, strict=True):
            for source in read:
                expected = dtypes.setdefault(source, layer.reads) if source in self.inputs else "float32"
                if layer.reads != expected:
                    what = "an input that nothing else reads" if layer.reads == "int32" else "float32"
                    raise ValueError(f"layer {name!r}: {layer!r}: expected {what}, got {source!r} of {expected}")
                if layer.index_limit is not None:
                    limits[source] = min(layer.index_limit, limits[source] or layer.index_limit)
        return dtypes, limits

    def _normalization(self, mean: Any, scale: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Mean and scale as vectors, or None and None if they change nothing."""
        if mean is None and scale is None:
            return None, None
        shape = self.input_shape[-1:]
        if "int32" in self.dtypes.values():
            raise ValueError("mean, scale: expected None for a model of int32 inputs")
        mean = np.zeros(shape, np.float32) if mean is None else finite_float32("mean", mean)
        scale = np.ones(shape, np.float32) if scale is None else finite_float32("scale", scale)
        for name, values in (("mean", mean), ("scale", scale)):
            if values.shape != shape:
                raise ValueError(f"{name}: expected shape {shape}, got {values.shape}")
        if not (scale >= np.finfo(np.float32).smallest_normal).all():
            raise ValueError(f"scale: expected normal and positive values, got {scale.min()}")
        return (mean, scale) if mean.any() or (scale != 1).any() else (None, None)

    # ---- what it is

    @property
    def output_shape(self) -> Shape:
        return self.shapes[self._only("output", self.outputs)]

    @property
    def gives_probabilities(self) -> bool:
        return self.task in PROBABILITIES and getattr(self.layers[-1], "activation", None) == PROBABILITIES[self.task]

    @property
    def logits_layers(self) -> list[Layer]:
        """The layers without the softmax, or of a binary task the sigmoid, that they end in: what losses of logits are
        trained on. Their arrays are those of the model.
        """
        last = self.layers[-1]
        if not self.gives_probabilities:
            return self.layers
        if not isinstance(last, Weighted):
            return self.layers[:-1]
        last = copy(last)
        last.activation = None
        return [*self.layers[:-1], last]

    @property
    def nbytes(self) -> int:
        """Bytes of all parameters and statistics, and of mean and scale where there are any, in float32."""
        first = sum(values.nbytes for values in (self.mean, self.scale) if values is not None)
        arrays = (values for layer in self.layers for values in (layer.parameters | layer.statistics).values())
        return first + sum(values.nbytes for values in arrays)

    @property
    def flops(self) -> int:
        """Floating-point operations of a sample in the layers that multiply: two for each product."""
        read = ([self.shapes[source] for source in sources] for sources in self.sources)
        return 2 * sum(layer.macs(*shapes) for layer, shapes in zip(self.layers, read, strict=True))

    def summary(self) -> Summary:
        """Return a table of the layers: names, shapes, parameters, products (MACs) and bytes.

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> ql.Sequential([ql.Dense(np.eye(2), activation="relu"), ql.Dense(np.ones((2, 3)))]).summary()
        Sequential of input 2, multiclass
        layer                         reads    shape  parameters  MACs  bytes
        dense_1  Dense(2 -> 2, relu)  input    2               6     4     24
        dense_2  Dense(2 -> 3)        dense_1  3               9     6     36
        total                                                 15    10     60
        """
        return summary_of(self)

    def plot(self) -> Any:
        """Draw the graph of the layers, see `qlite.analysis.plot_model.plot_model` (extra: plot).

        Examples
        --------
        >>> import numpy as np, qlite as ql
        >>> m = ql.Sequential([ql.Dense(np.eye(2), activation="relu"), ql.Dense(np.ones((2, 3)))])
        >>> m.plot().savefig("model.png")  # doctest: +SKIP
        """
        from qlite.analysis.plot_model import plot_model  # here: pictures stand on models

        return plot_model(self)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def copy(self) -> Any:
        """Return a model with arrays of its own."""
        return deepcopy(self)

    def part(self, layers: Sequence[Layer]) -> "Model":
        """Return the model with these layers in place of its own, from the first on; of one output the last of them."""
        kept = self.names[: len(layers)]
        only = {"normalized": next(iter(self.inputs))}
        read = [tuple(only.get(s, s) for s in sources) for sources in self.sources]
        outputs = self.outputs if len(layers) == len(self.layers) else kept[-1:]
        task = self.task if self.task in VALUES or outputs == self.outputs else None
        return Model(
            self.inputs,
            outputs,
            nodes=list(zip(kept, layers, read, strict=False)),
            mean=self.mean,
            scale=self.scale,
            task=task,
        )

    def save(self, path: Any) -> None:
        """Write the model to a file: all of it, or an error and the old file as it was. See `load`.

        The file holds the layers with their arrays, and the grids of training with a scheme, so that of what is loaded
        `quantize_model` makes the same integers; not the history. An existing file's mode is kept, and a symbolic link
        is followed.

        Raises
        ------
        OSError
            The file cannot be written.
        TypeError, ValueError
            A layer that has no kind of its own, or whose arrays are not float32 any more or not finite.

        Examples
        --------
        >>> import numpy as np, qlite as ql, tempfile, os
        >>> m = ql.Sequential([ql.Dense(np.eye(2), activation="relu"), ql.Softmax()])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     m.save(os.path.join(folder, "m.qlite"))
        ...     ql.load(os.path.join(folder, "m.qlite"))
        Sequential(24 bytes, multiclass)
          dense_1: Dense(2 -> 2, relu)
          softmax_1: Softmax()
        """
        from qlite.io import float_model_file  # here: files stand on models

        float_model_file.save(self, path)

    def to_tflite(self, path: Any, *, batch: int | None = 1, description: str = "") -> None:
        """Write the model as a TensorFlow Lite file of floats; see `QModel.to_tflite` for one of integers.

        Parameters
        ----------
        path : path-like
        batch : int or None
            Samples at a time; None: any number.
        description : str
            Kept in the file.

        Raises
        ------
        ValueError
            A layer that the format has no operator for; nothing is written then.
        OSError
            The file cannot be written; an old one stays as it was.
        ModuleNotFoundError
            The packages of the extra `tflite` are not installed.

        Examples
        --------
        >>> import numpy as np, qlite as ql, tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "m.tflite")
        ...     ql.Sequential([ql.Dense(np.eye(3))]).to_tflite(path)
        ...     ql.from_tflite(path)(np.ones((1, 3)))
        array([[1., 1., 1.]], dtype=float32)
        """
        from qlite.io.tflite import file  # here: files stand on models

        file.save(self, path, "float32", batch, description)

    def lower(self, builder: Builder) -> list[int]:
        """Append the layers to a program; returns the buffers of the outputs."""
        buffers = {name: builder.input(name, shape, self.dtypes[name]) for name, shape in self.inputs.items()}
        if self.mean is not None and self.scale is not None:
            (only,) = buffers.values()
            buffers["normalized"] = builder.normalize(only, self.mean, self.scale)
        for name, layer, read in zip(self.names, self.layers, self.sources, strict=True):
            buffers[name] = builder.lower(name, layer, tuple(buffers[source] for source in read))
        return [buffers[name] for name in self.outputs]

    # ---- what it computes

    def samples(
        self, name: str, x: Any, convert: Callable[[str, Any], np.ndarray] = _check.real_array
    ) -> dict[str, np.ndarray]:
        """Return the samples of each input, checked, as int32 or, of float32, as `convert(name, x)` gives them; `name`
        is for the error.

        Several inputs come as a dict by name, or as a tuple or list in their order.
        """
        if isinstance(x, Mapping):
            if set(x) != set(self.inputs):
                raise ValueError(f"{name}: expected samples of {list(self.inputs)}, got {list(x)}")
            given = {input_name: x[input_name] for input_name in self.inputs}
        elif len(self.inputs) == 1:
            (only,) = self.inputs
            given = {only: x}
        elif not isinstance(x, (tuple, list)) or len(x) != len(self.inputs):
            got = f"{len(x)} arrays" if isinstance(x, (tuple, list)) else type(x).__name__
            raise ValueError(f"{name}: expected a tuple or dict of samples of {list(self.inputs)}, got {got}")
        else:
            given = dict(zip(self.inputs, x, strict=True))
        wheres = [f"{name}[{key!r}]" if len(given) > 1 else name for key in given]
        arrays = {
            key: self._of_input(where, key, self._converted(where, key, value, convert))
            for where, (key, value) in zip(wheres, given.items(), strict=True)
        }
        counts = {key: len(array) for key, array in arrays.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{name}: expected as many samples of each input, got {counts}")
        return arrays

    def _converted(self, where: str, name: str, value: Any, convert: Callable[[str, Any], np.ndarray]) -> np.ndarray:
        if self.dtypes[name] == "float32":
            return convert(where, value)
        return as_read(where, value, "int32", self._limits[name])

    def _of_input(self, where: str, name: str, x: np.ndarray) -> np.ndarray:
        shape = self.inputs[name]
        if x.shape[1:] != shape or x.ndim == 0:
            raise ValueError(f"{where}: expected shape (samples, {', '.join(map(str, shape))}), got {x.shape}")
        return x

    def _samples(self, name: str, x: Any) -> np.ndarray:
        """The same for a model with one input."""
        self._only("input", self.inputs)
        (array,) = self.samples(name, x).values()
        return array

    def _normalized(self, x: np.ndarray) -> np.ndarray:
        return x if self.mean is None else (x - self.mean) / self.scale

    def given(self, samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return checked samples and, where there is a mean, "normalized": what the layers begin with."""
        values = dict(samples)
        if self.mean is not None:
            (only,) = samples.values()
            values["normalized"] = self._normalized(only)
        return values

    def walk(self, samples: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield every value by name, for checked samples, and forget each behind its last reader."""
        values, count = self.given(samples), len(next(iter(samples.values())))
        last = {source: i for i, read in enumerate(self.sources) for source in read}
        yield from list(values.items())
        for i, (name, layer, read) in enumerate(zip(self.names, self.layers, self.sources, strict=True)):
            values[name] = layer.compute_for(count, *(values[source] for source in read))
            for source in read:
                if last[source] == i:
                    values.pop(source, None)
            yield name, values[name]

    def __call__(self, x: Any) -> Any:
        results = {name: values for name, values in self.walk(self.samples("x", x)) if name in self.outputs}
        return results[self.outputs[0]] if len(results) == 1 else tuple(results[name] for name in self.outputs)

    def intermediates(self, x: Any) -> dict[str, np.ndarray]:
        """Return the inputs, "normalized" if the model does that, and every layer's output, by name."""
        return dict(self.walk(self.samples("x", x)))

    def __repr__(self) -> str:
        is_chain = self._is_chain
        lines = [] if self.mean is None else ["  normalized: (x - mean) / scale"]
        shown = shown_names(self.shapes)
        for name, layer, read in zip(self.names, self.layers, self.sources, strict=True):
            sources = f" <- {', '.join(shown[source] for source in read)}" if read and not is_chain else ""
            lines.append(f"  {shown[name]}: {layer!r}{sources}")
        return "\n".join([f"{type(self).__name__}({self.nbytes:,} bytes, {self.task})", *lines])

    @property
    def _is_chain(self) -> bool:
        """Whether each layer reads the one before, and the last gives the only output."""
        first = "input" if self.mean is None else "normalized"
        chain = [(name,) for name in (first, *self.names)]
        return list(self.inputs) == ["input"] and self.sources == chain[:-1] and self.outputs == chain[-1]
