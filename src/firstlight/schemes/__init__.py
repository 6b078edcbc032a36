"""Model-wide schemes: from a graph to a plan."""

from .by_name import catalogue, parse
from .parsing import Listed, named_arguments
from .planning import as_scheme, plan
from .records import Scheme
from .weights import Recurrence, weights_scheme

__all__ = [
    "Listed",
    "Recurrence",
    "Scheme",
    "as_scheme",
    "catalogue",
    "named_arguments",
    "parse",
    "plan",
    "weights_scheme",
]
