"""Which served model a name means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foveal.errors import ConfigError, NotFound, Overloaded
from foveal.serving.served import ServedModels
from tests.fakes import CARD, FakePipeline


def model(name: str, *aliases: str, is_ready: bool = True) -> FakePipeline:
    return FakePipeline(card=replace(CARD, id=name, aliases=aliases), is_ready=is_ready)


def test_a_model_is_found_by_id_alias_and_account_name() -> None:
    one, other = model("a/One-1.5", "first"), model("b/Two", "accounts/me/models/second")
    models = ServedModels([one, other])
    for name in ("a/One-1.5", "first", "accounts/x/models/one-1p5"):
        assert models.find(name) is one
    for name in ("b/Two", "accounts/me/models/second", "accounts/me/models/two"):
        assert models.find(name) is other
    for name in ("", "One-1.5", "one-1p5", "accounts/x/models/second", "accounts/x/y/models/two", "b/two"):
        with pytest.raises(NotFound):
            models.find(name)


@pytest.mark.parametrize(
    "second",
    [model("a/One"), model("b", "a/One"), model("first"), model("b", "first"), model("b/One"), model("c/ONE")],
    ids=lambda served: str((served.card.id, *served.card.aliases)),
)
def test_no_name_means_two_models(second: FakePipeline) -> None:
    models = ServedModels([model("a/One", "first")])
    with pytest.raises(ConfigError, match="two models would be served as"):
        models.add(second)
    assert len(list(models)) == 1


def test_an_alias_goes_before_the_account_name_that_another_id_gives() -> None:
    one, other = model("one"), model("two", "accounts/me/models/one")
    assert ServedModels([one, other]).find("accounts/me/models/one") is other
    assert ServedModels([one, other]).find("accounts/you/models/one") is one


def test_they_are_kept_in_order_and_may_go_while_they_are_read() -> None:
    one, two, three = model("one"), model("two"), model("three")
    models = ServedModels([one, two])
    seen = []
    for served in models:
        seen.append(served)
        if served is one:
            models.remove(one)
            models.add(three)
    assert (seen, list(models)) == ([one, two], [two, three])


def test_readiness_is_that_of_every_model() -> None:
    models = ServedModels([model("one")])
    models.check_ready()
    models.add(model("two", is_ready=False))
    assert models.find_ready("one").card.id == "one"
    for refused in (lambda: models.find_ready("two"), models.check_ready, ServedModels().check_ready):
        with pytest.raises(Overloaded):
            refused()
