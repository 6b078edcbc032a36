"""Model-wide schemes: from a graph to a plan."""

from .by_name import catalogue, parse
from .parsing import Listed, named_arguments
from .records import Scheme
from .weights import Recurrence, weights_scheme

__all__ = ["Listed", "Recurrence", "Scheme", "catalogue", "named_arguments", "parse", "weights_scheme"]
