"""The SQL files for D1: the project's own migrations, and nothing else."""

from pathlib import Path

from server_jobs.migrate import migration_files

MIGRATIONS = Path(__file__).parents[2] / "cloudflare" / "migrations"


def test_files_are_what_the_migrations_write_now() -> None:
    written = {path.name: path.read_text() for path in MIGRATIONS.iterdir()}

    # To bring them up to date:
    # server-jobs migrate --sql --dialect sqlite --into cloudflare/migrations
    assert written == migration_files("sqlite")


def test_files_apply_in_the_order_of_their_names() -> None:
    names = list(migration_files("sqlite"))

    assert names == sorted(names)
    assert all(name[:4].isdigit() for name in names)


def test_no_file_begins_a_transaction_of_its_own() -> None:
    # D1 refuses that, and runs each file in one.
    for script in migration_files("sqlite").values():
        assert "BEGIN" not in script
        assert "COMMIT" not in script
