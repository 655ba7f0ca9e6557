"""conversation/sandbox.py: templates of checkpoints come to an end, whatever they are."""

from __future__ import annotations

import pytest
from jinja2.exceptions import SecurityError

from foveal.conversation.sandbox import Sandbox

DOUBLED = "{% set n = namespace(t=[1]) %}{% for i in range(99) %}{% set n.t = [n.t, n.t] %}{% endfor %}"


def render(template: str) -> str:
    sandbox = Sandbox(extensions=["jinja2.ext.loopcontrols"])
    sandbox.start()
    return sandbox.from_string(template).render(messages=["a", "b"])


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ 'a' * 10 ** 6 * 10 ** 6 }}",
        "{{ [0] * 99999999999 }}",
        "{% set n = namespace(t='a') %}{% for i in range(99) %}{% set n.t = n.t + n.t %}{% endfor %}",
        "{% set n = namespace(t='a') %}{% for i in range(99) %}{% set n.t = n.t ~ n.t %}{% endfor %}",
        "{{ 'a' | center(10 ** 9) }}",
        "{{ 'a'.ljust(10 ** 9) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 1000000000) }}",
        "{{ ('a' * 9999) | replace('a', 'b' * 9999) }}",
        "{{ ('a' * 9999).replace('a', 'b' * 9999) }}",
        "{{ ('b' * 9999).join('a' * 9999) }}",
        "{{ range(9999) | list | join('a' * 9999) }}",
        "{{ ('\n' * 9999) | indent(9999) }}",
        "{{ [1] | batch(10 ** 9, 0) | list }}",
        "{{ [[1]] | tojson(indent=10 ** 9) }}",
        DOUBLED + "{{ n.t }}",
        DOUBLED + "{{ n.t | string }}",
        DOUBLED + "{{ n.t ~ '' }}",
        "{% set n = namespace(t=9) %}{% for i in range(99) %}{% set n.t = n.t * n.t %}{% endfor %}",
    ],
)
def test_a_template_that_would_not_end_is_stopped(template: str) -> None:
    with pytest.raises(SecurityError):
        render(template)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% for m in messages %}{% if loop.last %}{% continue %}{% endif %}{{ loop.index }}{{ m }}{% endfor %}", "1a"),
        (
            "{{ 'a' ~ 1 ~ messages[1] }}{{ '%05d' % 3 }}{{ '{:>3}'.format('x') }}{{ '-'.join(messages) }}",
            "a1b00003  xa-b",
        ),
        ("{{ messages | join(', ') | upper | replace('A', 'x') }}{{ {'a': [1]} | tojson }}", 'x, B{"a": [1]}'),
        ("{{ nothing | default('a') }}{{ messages | map('upper') | list | length }}{{ none }}{{ 1.5 }}", "a2None1.5"),
        ("{% for m in [] %}{{ m }}{% else %}none{% endfor %}", "none"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(messages[0]) + m('c') }}", "<a><c>"),
        ("{{ '-' * 3 + 'x' }}{{ 2 ** 10 }}{{ 3 * 4 }}{{ 1.5 * 2 }}{{ [1] * 2 }}{{ 'a' * 0 }}", "---x1024123.0[1, 1]"),
    ],
)
def test_other_templates_are_as_without_it(template: str, text: str) -> None:
    assert render(template) == text


def test_each_text_has_its_own_steps() -> None:
    sandbox = Sandbox()
    template = sandbox.from_string("{% for i in range(90000) %}{% endfor %}")
    for _ in range(10):
        sandbox.start()
        template.render()
