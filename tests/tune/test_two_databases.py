"""One database cannot hold Optuna's tables and MLflow's."""

import pytest

from plml.errors import ConfigError
from tune.two_databases import check_two_databases


@pytest.mark.parametrize(
    ("storage", "tracking_uri"),
    [
        ("postgresql://plml@db/one", "postgresql+psycopg2://other@DB:5432/one"),
        ("postgresql+psycopg2://plml@localhost/one", "postgresql://plml@127.0.0.1/one"),
        ("sqlite:////data/one.db", "sqlite:////data/one.db"),
    ],
)
def test_one_database_for_both_is_refused(storage: str, tracking_uri: str) -> None:
    with pytest.raises(ConfigError, match="are one database; Optuna and MLflow need one each"):
        check_two_databases(storage, tracking_uri)


@pytest.mark.parametrize(
    ("storage", "tracking_uri"),
    [
        ("postgresql://plml@db/one", "postgresql://plml@db/two"),
        ("postgresql://plml@db/one", "postgresql://plml@db:5433/one"),
        ("postgresql://plml@db/one", "http://db/one"),
        ("postgresql://plml@db/one", None),
        ("/data/optuna.log", "sqlite:////data/optuna.db"),
        ("mysql://plml@db/one", "postgresql://plml@db/one"),
    ],
)
def test_two_are_not(storage: str, tracking_uri: str | None) -> None:
    check_two_databases(storage, tracking_uri)
