"""The command ``server-jobs-operator``; also ``python -m server_jobs_operator``."""

from server_jobs.cli.environment import tidy_environment
from server_jobs.cli.extra import needs_extra
from server_jobs.cli.streams import standard_streams

_LIBRARIES = {
    "aiohttp",
    "kopf",
    "kubernetes",
    "prometheus_client",
    "pytimeparse",
    "rich",
    "typer",
    "yaml",
}


def main() -> None:
    """Run the command line with this process's arguments, and exit."""
    tidy_environment()
    with standard_streams(), needs_extra("server-jobs-operator", "operator", _LIBRARIES):
        from server_jobs_operator.cli import app

        app(prog_name="server-jobs-operator")


if __name__ == "__main__":
    main()
