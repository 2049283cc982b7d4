"""Migrations: each runs once, and commits with its record."""

import sqlite3

import pytest

from registry.catalogue import Catalogue, migrations
from registry.catalogue._sqlite import Connections
from registry.errors import CatalogueError


def recorded(path) -> list[tuple[int, str]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT number, name FROM migrations ORDER BY number").fetchall()
    connection.close()
    return found


def test_every_migration_is_recorded_once(tmp_path):
    for _ in range(2):
        Catalogue.create(tmp_path).close()
    expected = [(number, one.__name__) for number, one in enumerate(migrations.MIGRATIONS, start=1)]
    assert recorded(tmp_path / "catalogue.db") == expected


def test_a_migration_that_fails_leaves_nothing(tmp_path, monkeypatch):
    Catalogue.create(tmp_path).close()

    def half(db):
        db.execute("CREATE TABLE half (x)")
        raise RuntimeError

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, half))
    with pytest.raises(RuntimeError):
        Catalogue.open(tmp_path)
    monkeypatch.undo()
    assert len(recorded(tmp_path / "catalogue.db")) == len(migrations.MIGRATIONS)
    again = Connections(tmp_path / "catalogue.db")
    assert again.row("SELECT 1 AS one FROM sqlite_master WHERE name = 'half'") is None
    again.close()


def test_a_new_migration_runs_on_an_old_file(tmp_path, monkeypatch):
    Catalogue.create(tmp_path).close()

    def later(db):
        db.execute("CREATE TABLE later (x)")

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, later))
    Catalogue.open(tmp_path).close()
    assert recorded(tmp_path / "catalogue.db")[-1] == (len(migrations.MIGRATIONS), "later")


def test_a_file_of_a_newer_genba_is_refused(tmp_path, monkeypatch):
    Catalogue.create(tmp_path).close()
    monkeypatch.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:-1])
    with pytest.raises(CatalogueError, match="update Genba here"):
        Catalogue.open(tmp_path)


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path):
    (tmp_path / "catalogue.db").write_bytes(b"not a database, but long enough to look at" * 50)
    with pytest.raises(CatalogueError, match="cannot be opened"):
        Catalogue.open(tmp_path)
