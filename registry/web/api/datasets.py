"""Datasets: tables to train on."""

import re

from flask import Blueprint, request

from registry.catalogue.datasets import Dataset
from registry.errors import RequestRefusedError
from registry.web.context import caller, context
from registry.web.documents import DatasetReply
from registry.web.operations import operation

datasets = Blueprint("datasets", __name__, url_prefix="/api/v1/datasets")

_NAME = re.compile(r"[^\x00-\x1f/\\]{1,200}\Z")


@datasets.get("")
@operation("List the datasets", "datasets", reply=list[Dataset])
def list_datasets() -> list[Dataset]:
    return context().catalogue.datasets.list()


@datasets.post("")
@operation(
    "Upload a dataset",
    "datasets",
    body_media=("text/csv", "application/octet-stream"),
    query={"name": (str, "the file's name, such as line4.csv; its ending tells the format")},
    reply=DatasetReply,
    status=201,
    errors=(413,),
)
def post_dataset() -> DatasetReply:
    """CSV or Parquet, as it is. The same bytes twice are one dataset."""
    parts = context()
    limit = request.max_content_length = parts.settings.upload_limit_bytes
    name = request.args.get("name", "")
    if not _NAME.match(name):
        raise RequestRefusedError("name", f"{name!r} is not a file name; add ?name=line4.csv to the address")
    if not request.content_length:
        raise RequestRefusedError("body", "it is empty; send the table itself")
    sha256 = parts.catalogue.datasets.add(name, request.stream, limit_bytes=limit)
    parts.catalogue.events.record(
        "dataset-added", f"the dataset {name} was uploaded", detail={"by": caller(), "sha256": sha256}
    )
    return DatasetReply(sha256)
