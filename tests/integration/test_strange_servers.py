"""Roles and databases whose settings somebody chose for other programs."""

from tests.support.servers.strange import StrangeServer, cases, comes_of, set_up

SERVERS = {
    "as it comes": StrangeServer(),
    "a time zone": StrangeServer(("ALTER ROLE {role} SET TimeZone = 'Asia/Kolkata'",)),
    "a schema": StrangeServer(schema="work"),
}


@cases(SERVERS)
async def test_everything_works_or_one_error_says_what_to_set(
    postgres_server: str, server: StrangeServer
) -> None:
    with set_up(postgres_server, server) as place:
        await comes_of(place, server)
