import pytest

from server_jobs.cli.documents import masked_document
from server_jobs.masks import mask_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:pass@host/name", "postgresql://user:***@host/name"),
        ("at a+b://u:p%40ss@h:5432/n, then", "at a+b://u:***@h:5432/n, then"),
        ("redis://:pass@host", "redis://:***@host"),
        ("postgresql://u:pa/ss@host/n", "postgresql://u:***@host/n"),
        ("postgresql://u:p@ss/word@host/n?", "postgresql://u:***@host/n?"),
        ("postgresql://u:p@a?b@host/n, and", "postgresql://u:***@host/n, and"),
        ("sqlite://me:p@x@y", "sqlite://me:***@y"),
        ('{"url": "postgresql://u:p@h/n"}', '{"url": "postgresql://u:***@h/n"}'),
        ("postgresql://h/n?password=p&sslmode=on", "postgresql://h/n?password=***&sslmode=on"),
        ("postgresql://h/n?a=1&sslpassword=p'", "postgresql://h/n?a=1&sslpassword=***'"),
    ],
)
def test_password_of_a_database_url_is_masked(text: str, shown: str) -> None:
    assert mask_passwords(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user@host:5432/name",
        "sqlite:////data/jobs.db",
        "http://localhost:8000/users/ada@example.com",
        '{"url": "ws://host:80/x", "to": "ada@example.com"}',
        "10:30 ada@example.com",
    ],
)
def test_what_is_no_password_stays(text: str) -> None:
    assert mask_passwords(text) == text


def test_document_that_cannot_be_decoded_is_not_shown_since_it_cannot_be_masked() -> None:
    assert masked_document('{"$secret": "hunter2"') == "(not valid JSON: 21 characters)"
