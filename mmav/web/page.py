"""The page of demo/web_demo.py: its fields, texts and style."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mmav.class_names import label_set
from mmav.errors import MmavError
from mmav.preparation.clip_files import AUDIO_SUFFIXES, SUFFIXES
from mmav.web.demo import Answer, UploadError, WebDemo
from mmav.web.live import PATH, LiveDesk
from mmav.web.pictures import explanation_html, timeline_html

DEFAULT_TITLE = 'What happens in this clip?'
CHOOSE, STRONGEST = 'choose …', 'the strongest'
MOST_EXAMPLES = 8
STYLE = Path(__file__).with_name('page.css')
LIVE = Path(__file__).with_name('live.js')
# Models see a few hundred pixels; more would only take longer to encode and send.
CAMERA = dict(width=dict(ideal=640), height=dict(ideal=480))


def build_page(demo: WebDemo, *, title: str, examples: Sequence[str] = (), live: LiveDesk | None = None) -> Any:
    """Builds the page.

    Args:
        demo: Answers the requests.
        title: Heading of the page.
        examples: Files that a visitor can choose in place of an upload, of different names; inside the folder of the
            uploads, as gradio serves no others.
        live: Answers the camera's pieces; None for no such tab.

    Returns:
        ``gradio.Blocks``.

    Raises:
        MmavError: gradio is not installed.
    """
    gr = import_gradio()
    uses, parts = demo.uses, demo.classes
    private = dict(api_visibility='private', concurrency_id='model', concurrency_limit=1)
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(60, 900), fill_width=True) as page:
        answer = gr.State(None, time_to_live=3600)
        gr.HTML(f'<h1>{escape(title)}</h1><p>{_help(demo)}</p>', elem_id='headline')
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=340):
                with gr.Tabs():
                    with gr.Tab('Video'):
                        video = gr.Video(
                            sources=['upload', 'webcam'],
                            webcam_options=gr.WebcamOptions(mirror=False, constraints=CAMERA),
                            include_audio=True,
                            show_label=False,
                            elem_id='video',
                        )
                    with gr.Tab('Audio', visible='audio' in demo.inferencer.modalities):
                        audio = gr.Audio(
                            sources=['upload', 'microphone'],
                            type='filepath',
                            editable=False,
                            show_label=False,
                            elem_id='audio',
                        )
                    if live is not None:
                        with gr.Tab('Live'):
                            gr.HTML(_live(live), js_on_load=LIVE.read_text(encoding='utf-8'), elem_id='live')
                use = gr.Radio(uses, value=uses[0], label='Use', visible=len(uses) > 1, elem_id='use')
                button = gr.Button('Classify', variant='primary', elem_id='classify')
                if examples:
                    names = [Path(path).name for path in examples]
                    example = gr.Dropdown(
                        [CHOOSE, *names], value=CHOOSE, label='Or choose an example', elem_id='example'
                    )
                for part, names in parts.items():
                    heading = f'The {_counted(part, names)} that the model knows'
                    with gr.Accordion(heading, open=len(names) <= 24):
                        items = ''.join(f'<li>{escape(name)}</li>' for name in names)
                        gr.HTML(f'<ul class="mmav-classes">{items}</ul>')
            with gr.Column(scale=7, min_width=420):
                words = gr.HTML(_note('The prediction will appear here.'), elem_id='answer')
                timeline = gr.HTML(visible=False, elem_id='timeline')
                with gr.Row(visible=False) as why:
                    target = gr.Dropdown([], label='Show the evidence for', elem_id='target', interactive=True)
                    window = gr.Dropdown(
                        [], label='Part of the clip', elem_id='window', interactive=True, visible=False
                    )
                pictures = gr.HTML(visible=False, elem_id='pictures')

        def classify(video_path: str | None, audio_path: str | None, chosen: str) -> list[Any]:
            try:
                given = demo.classify(video_path or audio_path, chosen)
            except UploadError as error:
                hidden = gr.update(visible=False)
                return [None, _error(str(error)), hidden, hidden, gr.update(), gr.update(), hidden]
            long, targets = len(given.spans) > 1, _targets(given, parts)
            return [
                given,
                answer_html(given),
                gr.update(value=timeline_html(given, parts), visible=long),
                gr.update(visible=True),
                gr.update(choices=targets, value=targets[0][1]),
                gr.update(choices=_windows(given), value=STRONGEST, visible=long),
                gr.update(value=_note('One moment …'), visible=True),
            ]

        def explain(given: Answer | None, wanted: str | None, piece: str | None) -> dict[str, Any]:
            if given is None or not wanted:
                return gr.update(visible=False)
            part, index = wanted.rsplit(':', 1)
            windows = _windows(given)
            number = windows.index(piece) - 1 if piece in windows[1:] else None
            try:
                found = demo.explain(given, part, int(index), window=number)
            except MmavError as error:
                return gr.update(value=_error(str(error)), visible=True)
            return gr.update(value=explanation_html(found, parts[part][int(index)]), visible=True)

        def show_example(chosen: str) -> list[str | None]:
            path = next((path for path in examples if Path(path).name == chosen), None)
            is_audio = path is not None and Path(path).suffix.lower() in AUDIO_SUFFIXES
            return [None, path] if is_audio else [path, None]

        given = [answer, words, timeline, why, target, window, pictures]
        asked = button.click(_shielded(gr, classify), [video, audio, use], given, show_progress_on=words, **private)
        shown = dict(inputs=[answer, target, window], outputs=pictures, show_progress='minimal', **private)
        asked.success(_shielded(gr, explain), **shown)
        for choice in (target, window):
            choice.input(_shielded(gr, explain), **shown)
        if examples:
            example.input(_shielded(gr, show_example), example, [video, audio], api_visibility='private')
        # The last clip counts: the browser empties the other field.
        for field, other in ((video, audio), (audio, video)):
            for event in (field.upload, field.stop_recording):
                event(None, None, other, js='() => null', queue=False)
    page.queue(max_size=20, default_concurrency_limit=1, api_open=False)
    return page


def import_gradio() -> Any:
    """Imports gradio, without its telemetry.

    Raises:
        MmavError: It is not installed.
    """
    import os

    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    try:
        import gradio
    except ImportError as error:
        raise MmavError('the page needs gradio: pip install -r requirements/optional.txt') from error
    return gradio


def _shielded(gr: Any, work: Callable) -> Callable:
    """Writes a traceback to the log, and shows the visitor a sentence."""

    def run(*args: Any) -> Any:
        try:
            return work(*args)
        except Exception as error:
            logging.getLogger('mmav').exception('a request of the page failed')
            raise gr.Error(
                'Something went wrong on our side; the log of the server says what.', title='Sorry'
            ) from error

    return run


def copy_examples(folder: str, uploads: str) -> list[str]:
    """Copies the first clips of a folder, by name, to where the page may show them.

    Args:
        folder: Folder with clips.
        uploads: Folder of the uploads.

    Returns:
        The copies.

    Raises:
        MmavError: There are none.
    """
    if not Path(folder).is_dir():
        raise MmavError(f"no folder '{folder}' for --examples")
    suffixes = SUFFIXES | AUDIO_SUFFIXES
    found = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in suffixes and path.is_file())
    if not found:
        raise MmavError(f"no clips in '{folder}' for --examples, such as {', '.join(sorted(suffixes)[:6])}, ...")
    own = Path(uploads, 'examples')
    own.mkdir()
    return [str(shutil.copy(path, own / path.name)) for path in found[:MOST_EXAMPLES]]


# Texts


def _help(demo: WebDemo) -> str:
    modalities = ' and '.join(demo.inferencer.modalities)
    counts = ' and '.join(_counted(part, names) for part, names in demo.classes.items())
    what = f'to tell {counts} apart' if demo.inferencer.thresholds is None else f'to say which of {counts} it has'
    return (
        f'Upload or record a clip of up to {demo.limits.seconds:g} s and {demo.limits.megabytes:g} MB. '
        f'The model uses its {modalities} {what}.'
    )


def _counted(part: str, names: Sequence[str]) -> str:
    return f'{len(names)} {"classes" if part == "label" else part + "s"}'


def _live(live: LiveDesk) -> str:
    settings = dict(
        path=PATH.lstrip('/'),
        seconds=live.window,
        stride=live.stride,
        kinds=list(live.demo.inferencer.modalities),
        camera=CAMERA,
    )
    return (
        f'<div class="mmav-live" data-settings="{escape(json.dumps(settings))}"><video muted playsinline></video>'
        '<div class="mmav-live-row"><button type="button">Start</button><span class="mmav-live-status">'
        f'Pieces of {live.window:g} s from your camera and microphone, answered one after another.</span></div>'
        '<div class="mmav-live-answer"></div></div>'
    )


def _note(text: str) -> str:
    return f'<div class="mmav-note">{escape(text)}</div>'


def _error(text: str) -> str:
    return f'<div class="mmav-error" role="alert">{escape(text)}</div>'


def answer_html(answer: Answer) -> str:
    """The best label, bars of the probabilities, and what they are based on."""
    said = answer.predictions[:1] if answer.labels is None else answer.labels
    rows = ''.join(
        f'<div class="mmav-bar{" said" * (each in said)}">'
        f'<div class="track"><div class="fill" style="width:{100 * each["score"]:.1f}%"></div>'
        f'<div class="name">{escape(each["label"])}</div></div>'
        f'<div class="score">{100 * each["score"]:.1f} %</div></div>'
        for each in answer.predictions
    )
    best = escape(answer.predictions[0]['label'])
    if answer.labels is not None:
        best = escape(label_set(each['label'] for each in answer.labels)) or 'None of the classes is likely enough.'
    return f'<div class="mmav-best">{best}</div><div class="mmav-bars">{rows}</div>{_note(" ".join(answer.notes))}'


def _targets(answer: Answer, parts: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Choices of the class to explain, the most probable first."""
    choices = []
    for part, scores in answer.scores.items():
        names = parts[part]
        lead = '' if len(answer.scores) == 1 else f'{part}: '
        choices += [(f'{lead}{names[k]}', f'{part}:{k}') for k in (-scores.mean(axis=0)).argsort(kind='stable')]
    return choices


def _windows(answer: Answer) -> list[str]:
    return [STRONGEST, *(f'{start:.1f} to {end:.1f} s' for start, end in answer.spans)]
