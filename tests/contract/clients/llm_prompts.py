"""llm, with the server as one of its additional models: a schema, a tool, and a picture that is attached."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from pathlib import Path

from tests.contract.clients.asked import asked, report
from tests.contract.clients.shape import MAX_TOKENS, Shape, shape

ASKED = asked()
FOLDER = Path(tempfile.mkdtemp())
os.environ["LLM_USER_PATH"] = str(FOLDER)
(FOLDER / "extra-openai-models.yaml").write_text(
    json.dumps(  # which is YAML, too
        [
            {
                "model_id": ASKED.model,
                "model_name": ASKED.model,
                "api_base": f"{ASKED.url}/v1",
                "api_key_name": "foveal",
                "vision": True,
                "supports_schema": True,
                "supports_tools": True,
            }
        ]
    )
)
(FOLDER / "keys.json").write_text(json.dumps({"foveal": ASKED.key}))
import llm  # noqa: E402 - it reads the folder when it is imported

MODEL = llm.get_model(ASKED.model)
PICTURE = llm.Attachment(type="image/png", content=base64.b64decode(ASKED.picture.partition(",")[2]))


def plain() -> object:
    return MODEL.prompt(ASKED.question, attachments=[PICTURE], max_tokens=ASKED.max_tokens).text()


def structured() -> object:
    return json.loads(MODEL.prompt(ASKED.question, attachments=[PICTURE], schema=Shape, max_tokens=MAX_TOKENS).text())


def offered() -> object:
    """A tool that the model may call; it has no way of naming one."""
    return MODEL.prompt(
        ASKED.question, attachments=[PICTURE], tools=[shape], max_tokens=MAX_TOKENS, temperature=0
    ).text()


report({"plain": plain, "structured": structured, "a tool is offered": offered})
