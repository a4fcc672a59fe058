"""How all pictures look. Needs matplotlib, which is imported when the first one is drawn."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision tell apart; their lightness differs too.
BLUE, SKY, VERMILION, GREY = "#0072B2", "#56B4E9", "#D55E00", "#666666"
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "font.size": 9,
}


def import_pyplot() -> Any:
    """Return matplotlib's pyplot, or raise an ImportError that names the extra."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(f"plot: matplotlib is missing ({error}): pip install 'qlite-quant[plot]'") from error
    return pyplot


def shortened(text: str, longest: int) -> str:
    """Return a text, or of one that is longer both ends."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[: longest - half - 1]}…{text[-half:]}"


def finished(figure: "Figure") -> "Figure":
    """Take the figure out of the notebook's list of open ones, or the cell that returns it would show it twice."""
    from matplotlib import get_backend, pyplot

    if "inline" in get_backend():
        pyplot.close(figure)
    return figure
