"""Contributions for what a search releases: there where it is a single model that is a sum over raw columns."""

from collections.abc import Mapping, Sequence

from protocols.manifest import Contributions
from trainer.blend import Blend
from trainer.contributions import add_contributions
from trainer.encoded import Encoded
from trainer.errors import NotAdditiveError
from trainer.featurizer import Featurizer, MatrixKind
from trainer.guardrails.rail import evenly

#: Rows over which contributions are centred.
USUAL_ROWS = 2_000


def contribute(
    graph: bytes, blend: Blend, featurizers: Mapping[MatrixKind, Featurizer], rows: Encoded, classes: Sequence[str]
) -> tuple[bytes, Contributions | None]:
    """Return the graph with the output `contributions` and what it is; as it was, and None, where there is no such sum.

    Args:
        graph: as `write_graph` makes it of the blend.
        rows: those learned from, or all.
        classes: of a classifier, in the order of its probabilities.
    """
    if len(blend.parts) != 1 or blend.parts[0].weight != 1.0:
        return graph, None
    (part,) = blend.parts
    featurizer, width = featurizers[part.kind], len({*rows.number_places, *rows.text_places})
    matrix = featurizer.transform(rows.take(evenly(len(rows), USUAL_ROWS)))
    try:
        return add_contributions(
            graph,
            part.piece,
            [int(origin) for origin in featurizer.origins(rows)],
            width,
            matrix,
            temperature=blend.temperature,
            classes=classes,
        )
    except NotAdditiveError:
        return graph, None
