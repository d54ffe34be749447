"""Starting a demo, on a Space and in a clone: on loopback, two users at a time, nothing from another machine."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr

# People whose pictures are computed at the same time; on the two CPUs of a free Space more would only share them.
CONCURRENT_USERS = 2
# Seconds after which uploads and results of somebody who left are removed, and between two looks for them
_KEPT_SECONDS = 3600
_SESSIONS = 64  # whose results are remembered
# of the fonts that Gradio brings along; its files of the weight between them lack most letters
_WEIGHTS = 400, 700
_CSS = """
.gradio-container {max-width: 1180px !important; margin: 0 auto !important}
.numbers input {font-size: 1.8rem !important; font-weight: 700; padding: 0 !important}
.numbers input {border: none !important; box-shadow: none !important}
"""


def default_model(variable: str, checkpoint: Path, hub_name: str) -> str:
    """What an app shows if nobody says otherwise: the environment's model, that of the clone, or one on the Hub.

    Args:
        variable: of the environment. On a Space it is set in the settings.
        checkpoint: a folder that a clone has and a Space has not.
        hub_name: such as "org/iocformer".
    """
    return os.environ.get(variable) or (str(checkpoint) if checkpoint.is_dir() else hub_name)


def read_options(description: str, model: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """`model` and `port` of the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=model, help=f"folder of a checkpoint, or its name on the Hub ({model})")
    parser.add_argument("--port", type=int, help="of the page (default: the first free one from 7860 on)")
    return parser.parse_args(arguments)


def space(title: str) -> gr.Blocks:
    """An empty app: `with space("Count objects") as app:`. It tells nobody that it is used."""
    return gr.Blocks(title=title, analytics_enabled=False, delete_cache=(_KEPT_SECONDS, _KEPT_SECONDS))


def page_or_reason(build: Callable[[str], gr.Blocks], model: str, title: str, variable: str) -> gr.Blocks:
    """The page of a model; where the model is missing or damaged, one that says so and what to do, not a dead Space.

    Args:
        build: makes the page of a model.
        model: folder of a checkpoint, or its name on the Hub.
        title: of the page.
        variable: of the Space's settings that names the model.
    """
    try:
        return build(model)
    except (ImportError, OSError, ValueError) as error:
        with space(title) as app:
            gr.Markdown(f"# {title}\nThere is no model to show here yet.")
            # not as Markdown: the text is that of files of others
            gr.Textbox(str(error), label="Why", interactive=False, lines=2, elem_id="reason")
            gr.Markdown(
                f"Name a model in the variable `{variable}` of the Space's settings, then restart the Space. "
                "`dense-hf push` uploads one."
            )
        return app


def launch(app: gr.Blocks, max_file_size: str, port: int | None = None, wait: bool = True) -> str:
    """Serve an app and return its address.

    It listens on loopback, or where GRADIO_SERVER_NAME says, which a Space sets. Its fonts are files that Gradio
    brings along.

    Args:
        app: made with `space`.
        max_file_size: of an upload, such as "20mb".
        port: by default the first free one from 7860 on.
        wait: whether to return only after Ctrl-C.

    Raises:
        OSError: the port is taken.
    """
    app.queue(default_concurrency_limit=CONCURRENT_USERS)
    _, address, _ = app.launch(
        server_port=port,
        max_file_size=max_file_size,
        prevent_thread_lock=not wait,
        show_error=False,  # what `refusals` says is shown; what nobody foresaw may have paths of the server
        share=False,
        ssr_mode=False,
        quiet=not wait,
        footer_links=[],
        state_session_capacity=_SESSIONS,
        theme=gr.themes.Soft(
            primary_hue="teal",
            font=[gr.themes.LocalFont("IBM Plex Sans", _WEIGHTS), "sans-serif"],
            font_mono=[gr.themes.LocalFont("IBM Plex Mono", _WEIGHTS), "monospace"],
        ),
        css=_CSS,
    )
    return address
