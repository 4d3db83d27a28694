"""Times as people type them: ``2026-03-29``, ``2026-03-29T02:30``, with or without an offset."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import typer


def moment_of(text: str, option: str, zone: tzinfo) -> datetime:
    """Return the time in UTC. A text without an offset follows the zone. Raises BadParameter."""
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no moment: write 2026-03-29, 2026-03-29T02:30, or"
            " 2026-03-29T02:30+01:00.",
            param_hint=f"'{option}'",
        ) from None
