"""Models: named lines of releases."""

from flask import Blueprint

from protocols.names import ReleaseRef
from registry.catalogue import Catalogue
from registry.catalogue.models import Model
from registry.web.context import caller, context
from registry.web.documents import ChampionBody, ModelDocument, model_document
from registry.web.operations import operation

models = Blueprint("models", __name__, url_prefix="/api/v1/models")


@models.get("")
@operation("List the models", "models", reply=list[ModelDocument])
def list_models() -> list[ModelDocument]:
    catalogue = context().catalogue
    return [_document(catalogue, model) for model in catalogue.models.list()]


@models.get("/<model>")
@operation("Describe one model", "models", reply=ModelDocument, errors=(404,))
def get_model(model: str) -> ModelDocument:
    catalogue = context().catalogue
    return _document(catalogue, catalogue.models.get(model))


@models.put("/<model>/champion")
@operation("Say which release is the one to beat", "models", body=ChampionBody, reply=ModelDocument, errors=(404,))
def put_champion(model: str, body: ChampionBody) -> ModelDocument:
    """It changes nothing on the devices: POST /api/v1/assignments does."""
    catalogue = context().catalogue
    ref = ReleaseRef(catalogue.models.get(model).name, body.version)
    with catalogue.transaction():
        catalogue.models.set_champion(ref)
        catalogue.events.record(
            "champion-changed",
            f"{ref} was made the champion",
            model=model,
            version=ref.version,
            detail={"by": caller()},
        )
    return _document(catalogue, catalogue.models.get(model))


def _document(catalogue: Catalogue, model: Model) -> ModelDocument:
    newest = next(iter(catalogue.drift.list(model.name, 1)), None)
    return model_document(model, newest.drifted if newest else None, catalogue.rows.count(model.name))
