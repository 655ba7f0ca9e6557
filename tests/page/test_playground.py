"""What people do on the page, in a real browser; most of it against a server whose answers the test wrote."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from foveal.config import HttpConfig, PriceConfig
from foveal.errors import GenerationFailed, Overloaded
from foveal.serving.pipeline import Measurement
from foveal.types import (
    ChatRequest,
    CropGrid,
    Delta,
    Image,
    ImageLayout,
    ImageSpan,
    PixelRef,
    Prompt,
    PromptImage,
    Size,
    TokenLogprob,
)
from tests.fakes import CARD, FakePipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.sync_api import Page

    Opening = Callable[..., AbstractContextManager[Page]]

PICTURE = Path("docs/images/shapes.png")
WIDE = Size(800, 300)
PRICES = PriceConfig(prompt=0.2, cached_prompt=0.1, completion=0.6)


def measured(num_images: int, size: Size = WIDE) -> Measurement:
    """A prompt with images that a family cuts into two crops, padded above and below."""
    layout = ImageLayout(size, (1,), (), 3, 30, CropGrid(1, 2, 0, -50, 800, 350))
    image = PromptImage(Image(bytes(32), PixelRef(0, (1,)), layout), (ImageSpan(0, 30),), 30)
    return Measurement(Prompt((1,) * (3 + 30 * num_images), images=(image,) * num_images), max_tokens=5)


def said(*pieces: str) -> tuple[Delta, ...]:
    return (*(Delta(0, piece) for piece in pieces), Delta(0, finish_reason="stop"))


def ask(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")


def answer_text(page: Page) -> str:
    page.wait_for_selector(".turn.assistant:last-child:not(.busy)")
    return str(page.inner_text(".turn.assistant:last-child .said")).strip()


# --- asking -----------------------------------------------------------------------------------------------------------


def test_a_picture_is_chosen_asked_about_and_answered(page_of: Opening) -> None:
    pipeline = FakePipeline(said("A **red** circle", " and a `square`."), measurement=measured(1))
    with page_of(pipeline) as page:
        page.set_input_files("#files", PICTURE)
        ask(page, "What is this?")
        assert answer_text(page) == "A red circle and a square."
        assert page.inner_text(".said strong") == "red"
        assert page.locator(".turn.user img").is_visible()
    request = chat_requests(pipeline)[-1]
    assert [message.role for message in request.messages] == ["user"]
    assert "What is this?" in str(request.messages[0].content)


def test_the_answer_shows_as_it_comes_and_stops_when_told(page_of: Opening) -> None:
    pipeline = FakePipeline((Delta(0, "The first "), Delta(0, "words"), None))
    with page_of(pipeline) as page:
        ask(page, "Go on without end")
        page.wait_for_selector(".said:has-text('The first words')")
        page.click("#send:has-text('Stop')")
        assert answer_text(page) == "The first words"
        assert "stopped" in page.inner_text(".facts")
        assert page.inner_text("#send") == "Ask"
    assert pipeline.num_running == 0


def test_escape_stops_too(page_of: Opening) -> None:
    with page_of(FakePipeline((Delta(0, "On and on"), None))) as page:
        ask(page, "Go on")
        page.wait_for_selector(".said:has-text('On and on')")
        page.keyboard.press("Escape")
        assert answer_text(page) == "On and on"


def test_a_second_turn_carries_the_first(page_of: Opening) -> None:
    pipeline = FakePipeline(said("Yes."), measurement=measured(1))
    with page_of(pipeline) as page:
        page.set_input_files("#files", PICTURE)
        ask(page, "Is it red?")
        answer_text(page)
        ask(page, "Are you sure?")
        page.wait_for_selector(".turn.assistant:nth-of-type(4):not(.busy)")
    assert [message.role for message in chat_requests(pipeline)[-1].messages] == ["user", "assistant", "user"]


def test_an_answer_can_be_asked_for_again(page_of: Opening) -> None:
    pipeline = FakePipeline(said("Maybe."))
    with page_of(pipeline) as page:
        ask(page, "Is it?")
        answer_text(page)
        pipeline.script = said("Certainly.")
        page.get_by_role("button", name="Ask again").click()
        page.wait_for_selector(".said:has-text('Certainly.')")
        assert page.locator(".turn.assistant").count() == 1
    assert [message.role for message in chat_requests(pipeline)[-1].messages] == ["user"]


def test_settings_go_with_the_request(page_of: Opening) -> None:
    pipeline = FakePipeline(said("{}"))
    with page_of(pipeline) as page:
        page.fill("#set-system", "Be brief.")
        page.fill("#set-temperature", "0")
        page.fill("#set-max_tokens", "7")
        page.fill("#set-schema", '{"type": "object"}')
        ask(page, "Hm?")
        answer_text(page)
    request = chat_requests(pipeline)[-1]
    assert request.messages[0].role == "system"
    assert (request.options.sampling.temperature, request.options.max_tokens) == (0, 7)
    assert request.options.grammar is not None


def test_a_schema_that_is_no_json_is_told_and_not_sent(page_of: Opening) -> None:
    pipeline = FakePipeline(said("Fine."))
    with page_of(pipeline) as page:
        page.fill("#set-schema", '{"type": ')
        assert "not JSON yet" in page.inner_text(".field.json .problem")
        ask(page, "Hm?")
        answer_text(page)
    assert chat_requests(pipeline)[-1].options.grammar is None


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_an_error_is_shown_in_the_servers_words(page_of: Opening) -> None:
    with page_of(FakePipeline(refusal=Overloaded("Too many at once; try again in a moment."))) as page:
        ask(page, "Hm?")
        page.wait_for_selector(".error")
        assert "Too many at once; try again in a moment." in page.inner_text(".error")


def test_an_error_in_the_middle_of_an_answer_keeps_what_was_said(page_of: Opening) -> None:
    with page_of(FakePipeline((Delta(0, "So far"), GenerationFailed("It broke off.")))) as page:
        ask(page, "Hm?")
        page.wait_for_selector(".error")
        assert "It broke off." in page.inner_text(".error")
        assert answer_text(page) == "So far"


def test_a_key_is_asked_for_and_kept_nowhere(page_of: Opening) -> None:
    with page_of(FakePipeline(said("Hello.")), HttpConfig(api_keys=("sk-right",))) as page:
        for key in ("sk-wrong", "sk-right"):
            page.wait_for_selector("#key-dialog[open]")
            page.fill("#key", key)
            page.press("#key", "Enter")
        page.wait_for_selector("#model option", state="attached")
        ask(page, "Hi")
        assert answer_text(page) == "Hello."
        assert "sk-right" not in page.content()
        stored = page.evaluate("[JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie]")
        assert "sk-right" not in str(stored)


# --- pictures before they are sent ------------------------------------------------------------------------------------


def test_a_pictures_size_tokens_crops_and_price_are_told_before_it_is_sent(page_of: Opening) -> None:
    pipeline = FakePipeline(card=replace(CARD, prices=PRICES), measurement=measured(1))
    with page_of(pipeline) as page:
        page.set_input_files("#files", PICTURE)
        page.wait_for_selector("#pictures small:has-text('token')")
        assert page.inner_text("#pictures small") == "800 \N{MULTIPLICATION SIGN} 300 · 30 tokens · 3 crops · $0.000006"
        assert page.inner_text("#measure") == "33 tokens · $0.0000066"
        lines = page.locator("#pictures line")
        assert lines.count() == 2 + 3  # around one row and two columns
        assert page.locator("#pictures svg").get_attribute("viewBox") == "0 -50 800 400"  # with the padding
    assert chat_requests(pipeline) == []


def test_pictures_are_moved_and_removed_by_keyboard(page_of: Opening) -> None:
    with page_of(FakePipeline(measurement=measured(3))) as page:
        files = [{"name": name, "mimeType": "image/png", "buffer": PICTURE.read_bytes()} for name in ("a", "b", "c")]
        page.set_input_files("#files", files)
        page.get_by_role("button", name="Move forward c").focus()
        page.keyboard.press("Enter")
        assert names(page) == ["a", "c", "b"]
        page.get_by_role("button", name="Remove a").press("Enter")
        assert names(page) == ["c", "b"]


def test_pictures_are_moved_by_dragging(page_of: Opening) -> None:
    with page_of(FakePipeline(measurement=measured(2))) as page:
        files = [{"name": name, "mimeType": "image/png", "buffer": PICTURE.read_bytes()} for name in ("a", "b")]
        page.set_input_files("#files", files)
        page.wait_for_selector("#pictures small:has-text('token')")
        page.drag_and_drop("#pictures li:nth-child(2)", "#pictures li:nth-child(1)")
        assert names(page) == ["b", "a"]


def test_a_picture_can_be_pasted_and_dropped(page_of: Opening) -> None:
    """Only scripts can make such events; the page takes them as those of people."""
    transfer = """(kind) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array([1])], kind + ".png", { type: "image/png" }));
        const event = kind === "paste"
            ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
            : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    }"""
    with page_of(FakePipeline(measurement=measured(2))) as page:
        for kind in ("paste", "drop"):
            page.evaluate(transfer, kind)
            page.wait_for_selector(f"#pictures [aria-label='Look at {kind}.png']")
        assert names(page) == ["paste.png", "drop.png"]


def chat_requests(pipeline: FakePipeline) -> list[ChatRequest]:
    """Those that were run. The page also measures requests, before they are sent."""
    return [request for request in pipeline.answered if isinstance(request, ChatRequest)]


def names(page: Page) -> list[str]:
    looks = page.locator("#pictures .look").all()
    return [str(look.get_attribute("aria-label")).removeprefix("Look at ") for look in looks]


# --- after the answer -------------------------------------------------------------------------------------------------


def test_an_answers_counts_speed_and_cost_are_told(page_of: Opening) -> None:
    pipeline = FakePipeline(said("A", " b"), card=replace(CARD, prices=PRICES))
    with page_of(pipeline) as page:
        ask(page, "Hm?")
        answer_text(page)
        facts = page.inner_text(".facts")
    assert "12 tokens in: 9 image, 3 text, 4 cached" in facts.replace("\n", " ")
    assert "2 tokens out" in facts.replace("\n", " ")
    assert f"${(8 * 0.2 + 4 * 0.1 + 2 * 0.6) / 1e6:.7f}".rstrip("0") in facts


def test_tokens_are_shaded_by_doubt_and_name_their_alternatives(page_of: Opening) -> None:
    red = TokenLogprob(1, "Red", b"Red", math.log(0.75))
    token = replace(red, top=(red, TokenLogprob(2, "Blue", b"Blue", math.log(0.25))))
    pipeline = FakePipeline((Delta(0, "Red", logprobs=(token,)), Delta(0, finish_reason="stop")))
    with page_of(pipeline) as page:
        ask(page, "Which colour?")
        answer_text(page)
        page.get_by_role("button", name="Tokens").click()
        assert page.locator(".token").evaluate("(token) => token.style.getPropertyValue('--doubt')") == "0.250"
        page.hover(".token")
        assert page.inner_text(".tip").split() == ["Red", "75", "%", "Blue", "25", "%"]


def test_boxes_in_an_answer_are_drawn_on_the_picture_in_its_own_pixels(page_of: Opening) -> None:
    boxes = [{"bbox_2d": [100, 250, 500, 750], "label": "circle"}]
    pipeline = FakePipeline(said(json.dumps(boxes)), measurement=measured(1))
    with page_of(pipeline) as page:
        page.set_input_files("#files", PICTURE)
        page.wait_for_selector("#pictures small:has-text('token')")
        ask(page, "Where is the circle?")
        page.wait_for_selector(".marks rect")
        drawn = page.locator(".marks rect")
        assert [float(drawn.get_attribute(name) or 0) for name in ("x", "y", "width", "height")] == [80, 75, 320, 150]
        assert page.inner_text(".marks figcaption") == "circle: 80, 75 to 400, 225"


QWEN2 = "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>"
QWEN25 = '```json\n[{"bbox_2d": [40, 30, 80, 60], "label": "dog"}]\n```'


@pytest.mark.parametrize(
    ("text", "scale", "marks"),
    [
        (QWEN2, "thousandths", [("box", "cat", 0.1, 0.2, 0.3, 0.4)]),
        (QWEN25, "pixels", [("box", "dog", 0.1, 0.15, 0.2, 0.3)]),
        ('Sure [here]: {"point_2d": [500, 250], "label": "eye"}', "thousandths", [("point", "eye", 0.5, 0.25)]),
        ('{"box_2d": [200, 100, 400, 300], "label": "bird"}', "thousandths", [("box", "bird", 0.1, 0.2, 0.3, 0.4)]),
        ("<loc0256><loc0512><loc0512><loc1023> car", "thousandths", [("box", "car", 0.5, 0.25, 1023 / 1024, 0.5)]),
        ('<point x="25.0" y="50.5" alt="nose">nose</point>', "thousandths", [("point", "nose", 0.25, 0.505)]),
        ("There are no boxes [1, 2] here {", "thousandths", []),
        ('{"bbox_2d": [1, 2, 3]} {"bbox_2d": "no"} [[[', "thousandths", []),
    ],
)
def test_marks_are_read_in_each_models_form(
    page_of: Opening, text: str, scale: str, marks: list[tuple[Any, ...]]
) -> None:
    script = """async ([text, scale]) => {
        const { marksIn } = await import("/pages/playground/marks.js");
        return marksIn(text, { scale, width: 400, height: 200 }).map(({ kind, label, x, y, x2, y2 }) =>
            [kind, label, x, y, ...(kind === "box" ? [x2, y2] : [])]);
    }"""
    with page_of(FakePipeline()) as page:
        found = page.evaluate(script, [text, scale])
    assert [mark[:2] for mark in found] == [list(mark[:2]) for mark in marks]
    assert [n for mark in found for n in mark[2:]] == pytest.approx([n for mark in marks for n in mark[2:]])


# --- for everybody ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [400, 1180])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_accessible_and_fits(page_of: Opening, theme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    pipeline = FakePipeline(said("Some `code` and **bold** text."), measurement=measured(2))
    with page_of(pipeline, viewport={"width": width, "height": 800}, color_scheme=theme) as page:
        page.set_input_files("#files", PICTURE)
        ask(page, "What is this?")
        answer_text(page)
        page.set_input_files("#files", PICTURE)
        page.wait_for_selector("#pictures small:has-text('token')")
        problems = Axe().run(page).response["violations"]
        assert [(problem["id"], [node["html"] for node in problem["nodes"]]) for problem in problems] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
