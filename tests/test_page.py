"""
The page in a real headless Chromium, as a visitor uses it: by mouse, by keyboard alone, on a phone, in the dark.
"""

import shutil

import pytest

for needed in ("fastapi", "uvicorn"):
    pytest.importorskip(needed)
sync_api = pytest.importorskip("playwright.sync_api")

from bpe import template
from chat import server
from tests.scripted import ABOUT, ANSWERS, SUM, TOKENIZER, Scripted, serving, working

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.peer,
              pytest.mark.skipif(not CHROMIUM, reason="no Chromium. On Debian: apt-get install chromium")]


@pytest.fixture(scope="module")
def chat():
    """The address of a server whose model takes 4 ms a token, and its worker with the prompts it was given."""
    more = {"talkative sum": [*SUM[:3], {"type": "text", "text": "24 " + "and " * 100}],
            "code": "def f(x):\n    return x", "cut": "word " * 400}
    model = Scripted(ANSWERS | more, delay=0.004)
    with working(model) as worker:
        worker.prompts, begin = [], worker.ask
        worker.ask = lambda ids, *a, **k: (worker.prompts.append(ids), begin(ids, *a, **k))[1]
        with serving(server.create(worker, ABOUT)) as url:
            yield url, worker


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chat, browser):
    """visit(**settings) -> the page, opened. At the end: nothing came from elsewhere, nothing was complained of."""
    url, _ = chat
    contexts, requests, complaints = [], [], []

    def visit(**settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#lamp.up")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert all(request.startswith((url, "data:")) for request in requests)
    assert not complaints


def ask(page, text):
    page.fill("#text", text)
    page.keyboard.press("Enter")


def answer(page, n=-1):
    """The n-th answer once it is complete."""
    page.wait_for_selector("#send:not([hidden])")
    return page.locator(".assistant").nth(n)


def test_a_visit(visit, chat):
    """Ask, see the calculator at work, go on, start anew."""
    page = visit()
    assert page.inner_text("#model") == "test/scripted" and page.inner_text("#about") == "2.6M parameters"
    ask(page, "sum")
    assert answer(page).locator(".chip").inner_text() == "48/2 = 24"
    assert answer(page).inner_text() == "Half of 48 is 48/2=48/2 = 24 24 apples.\nAnswer: 24"
    assert "48/2 = 24 24 apples" in page.inner_text("#status")    # what a screen reader is told

    ask(page, "hello")
    assert answer(page).inner_text() == "Hello, wörld! 🦊 bye"
    history = [{"role": "user", "content": "sum"}, {"role": "assistant", "content": SUM},
               {"role": "user", "content": "hello"}]
    assert chat[1].prompts[-1] == template.render(history, TOKENIZER, for_reply=True)[0]

    page.click("#reset")
    assert page.is_visible("#welcome") and page.locator("article").count() == 0
    ask(page, "hello")
    answer(page)
    assert chat[1].prompts[-1] == template.render(history[2:], TOKENIZER, for_reply=True)[0]


def test_streams(visit):
    """The calculation and the words are there long before the answer is complete."""
    page = visit()
    ask(page, "talkative sum")
    page.wait_for_selector(".assistant[aria-busy=true] .chip")
    lengths = []
    for _ in range(3):
        page.wait_for_function("n => document.querySelector('.assistant').innerText.length > n",
                               arg=max(lengths, default=0))
        lengths.append(len(page.inner_text(".assistant")))
    page.click("#stop")
    assert lengths == sorted(set(lengths)) and "Stopped." in answer(page).inner_text()


def test_keyboard_alone(visit, chat):
    """An example by Tab and Enter, Escape stops it and frees the slot, Shift+Enter makes a line, Enter sends."""
    page = visit()
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.innerText").startswith("Large numbers")
    page.keyboard.press("Enter")
    answer(page)
    page.keyboard.type("long")                                    # the focus is back in the box
    page.keyboard.press("Enter")
    page.wait_for_selector(".assistant[aria-busy=true] span")
    page.keyboard.press("Escape")
    assert "Stopped." in answer(page).inner_text()
    page.wait_for_function("async () => (await (await fetch('health')).json()).active === 0")
    page.keyboard.type("a")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("b")
    page.keyboard.press("Enter")
    assert answer(page).inner_text() == "You said: a\nb"


def test_what_a_model_writes_stays_text(visit):
    page = visit()
    for text in ("markup", "<b>mine</b>"):
        ask(page, text)
        shown = answer(page).inner_text()
        assert shown == ANSWERS.get(text, f"You said: {text}")
    assert page.locator("article img, article b").count() == 0 and page.title() == "test/scripted"


def test_errors_and_notes(visit, chat):
    """A failing calculation, code, a question that is too long, an answer that is cut, a server that is gone."""
    page = visit()
    ask(page, "broken")
    assert answer(page).locator(".chip.bad").inner_text() == "1/0 = error: division by zero"
    ask(page, "code")
    assert answer(page).locator(".code").inner_text() == "def f(x):\n    return x"
    ask(page, "cut")
    assert "longest length" in answer(page).inner_text()
    ask(page, "again")
    assert "oldest messages" in answer(page).inner_text()


def test_what_fails_gives_the_question_back(chat, browser):
    page = browser.new_page()
    page.goto(chat[0])
    ask(page, "x" * 500)
    assert "at most 384 tokens" in answer(page).locator(".note.bad").inner_text()
    assert page.input_value("#text") == "x" * 500
    page.route("**/v1/**", lambda route: route.abort())
    page.route("**/health", lambda route: route.abort())
    ask(page, "hello")
    assert "does not answer" in answer(page).inner_text()
    assert page.input_value("#text") == "hello"
    page.wait_for_selector("#lamp.down")
    page.close()


def test_new_chat_in_the_middle_of_an_answer(visit, chat):
    page = visit()
    ask(page, "long")
    page.wait_for_selector(".assistant[aria-busy=true] span")
    page.click("#reset")
    ask(page, "hello")
    assert answer(page).inner_text() == "Hello, wörld! 🦊 bye" and page.locator("article").count() == 2
    hello = template.render([{"role": "user", "content": "hello"}], TOKENIZER, for_reply=True)[0]
    assert chat[1].prompts[-1] == hello                           # nothing of the old chat has slipped in


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone(visit, scheme):
    """375 pixels: nothing is wider than the screen, the box is in sight, colors follow the system."""
    page = visit(viewport={"width": 375, "height": 667}, color_scheme=scheme, has_touch=True, is_mobile=True)
    page.locator("#examples button").first.tap()
    answer(page)
    ask(page, "a" * 200)
    answer(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    box = page.locator("#box").bounding_box()
    assert box["y"] + box["height"] <= 667 and box["height"] < 80
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(251, 250, 247)"
    assert light == (scheme == "light")
