"""The web page of t2t-server in Chromium: text, pictures, sound, several inputs; and it asks no other machine."""

import shutil

import pytest
from served import NOTES, melody, picture, recording, server

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_the_policy_lets_the_page_run_its_own_script_alone():
    from t2t_multimodel.serving.page import Page

    response = Page().response()
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and policy.count("sha256-") == 2
    assert b"http://" not in response.body and b"https://" not in response.body


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """(page, folder of files, addresses asked, complaints of the console)."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    folder = tmp_path_factory.mktemp("page")
    (folder / "light.png").write_bytes(picture(255))
    (folder / "tone.wav").write_bytes(recording(1.0))
    (folder / "melody.wav").write_bytes(melody())
    (folder / "microphone.wav").write_bytes(melody(48000))  # which the fake device plays again and again
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    flags.append(f"--use-file-for-fake-audio-capture={folder}/microphone.wav")
    with server() as process, api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_context(viewport={"width": 360, "height": 740}, permissions=["microphone"]).new_page()
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: note(said, message))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(process.url + "/")
        page.wait_for_selector("body[data-ready]")
        yield page, folder, asked, said
        assert all(url.startswith((process.url, "blob:", "data:")) for url in asked), asked
        browser.close()


def note(said, message):
    refusal = "Failed to load resource: the server responded with a status of 400"  # which the page shows in words
    if message.type == "error" and not message.text.startswith(refusal):
        said.append(message.text)


def answer(page):
    page.click("#go")
    page.wait_for_selector("#answer:not(:empty), #error:not(:empty)")
    return page.inner_text("#answer"), page.inner_text("#error")


def test_a_text_with_its_beams(opened):
    page, *_ = opened
    page.select_option("#problem", "words")
    assert answer(page) == ("", "Nothing to answer yet: give an input.")
    page.fill("#text-inputs", "one <b>two</b>")
    page.press("#text-inputs", "Enter")
    page.wait_for_selector("#answer:not(:empty)")
    assert page.inner_text("#answer") == "ONE <B>TWO</B>"
    assert page.locator("#beams tbody tr").count() == 4 and "ms" in page.inner_text("#time")
    page.fill("#text-inputs", "long " * 51)
    assert "longer (51)" in answer(page)[1]


def test_a_picture_that_is_chosen_and_one_that_is_dropped(opened):
    page, folder, _, said = opened
    page.select_option("#problem", "shades")
    page.set_input_files("#file-inputs", folder / "light.png")
    page.wait_for_selector(".drop img")
    assert answer(page) == ("light", "")
    dropped = page.evaluate_handle(
        """bytes => { const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "dark.png", {type: "image/png"})); return data; }""",
        list(picture(0)),
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": dropped})
    page.wait_for_function("document.querySelector('#answer').textContent === ''")
    page.wait_for_timeout(100)
    assert answer(page) == ("dark", "")
    assert not said


def test_sound_from_a_file_and_from_the_microphone(opened):
    page, folder, _, said = opened
    page.select_option("#problem", "tones")
    page.set_input_files("#file-inputs", folder / "tone.wav")
    page.wait_for_selector(".drop audio")
    assert answer(page) == ("8000 samples", "")
    page.click(".record")
    page.wait_for_timeout(1000)
    page.click(".record")
    page.wait_for_function("document.querySelector('#answer').textContent === ''")
    page.wait_for_timeout(500)
    samples, error = answer(page)
    assert not error and 2000 < int(samples.split()[0]) < 40000  # (a busy machine records for longer)
    assert not said


def test_the_microphone_brings_what_it_hears(opened):
    """Rate, loudness and order: the notes of the file that a fake microphone plays, beginning at any of them."""
    page, folder, _, said = opened
    page.select_option("#problem", "melody")
    page.set_input_files("#file-inputs", folder / "melody.wav")
    page.wait_for_selector(".drop audio")
    assert answer(page) == (" ".join(NOTES), "")
    page.evaluate("document.querySelector('.drop audio').className = 'file'")
    page.click(".record")
    page.wait_for_timeout(1500)
    page.click(".record")
    page.wait_for_selector(".drop audio:not(.file)")
    assert page.input_value("#file-inputs") == "", "the name of a file that is not asked about"
    heard, error = answer(page)
    assert not error and len(heard.split()) >= len(NOTES)
    assert heard in " ".join([*NOTES] * 20)
    assert not said


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_silence_around_speech_is_cut_from_what_the_microphone_recorded(opened, noise):
    page, *_ = opened
    kept = """([before, voice, after, noise]) => {
        const rate = 16000, sound = new Float32Array(rate * (before + voice + after));
        for (let i = 0; i < sound.length; i++) {
          const speaks = i >= rate * before && i < rate * (before + voice);
          sound[i] = noise * Math.sin(i * i) + (speaks ? 0.2 * Math.sin(i / 5) : 0);
        }
        const kept = spoken(sound, rate);
        return [kept.byteOffset / 4 / rate, kept.length / rate];
    }"""
    start, length = page.evaluate(kept, [1.0, 0.5, 2.0, noise])
    assert 0.9 < start <= 1.0 and start + length >= 1.5 and length < 0.65
    for nothing_to_cut in ([0.0, 0.5, 0.0, noise], [0.0, 0.0, 1.0, 0.0], [0.0, 0.001, 0.0, noise]):
        assert page.evaluate(kept, nothing_to_cut) == [0.0, pytest.approx(sum(nothing_to_cut[:3]))]


def explained(page):
    page.focus("#explain")
    page.keyboard.press("Enter")
    page.wait_for_selector("#explanation:not([hidden]), #error:not(:empty)")
    assert page.inner_text("#error") == "" and "ms" in page.inner_text("#explain-time")
    assert page.evaluate("document.activeElement.id") == "explanation"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    return page.inner_text("#explanation")


def test_what_it_looked_at(opened):
    """Over words a table, over a picture the picture again and again, over sound strips under the spectrogram."""
    page, folder, _, said = opened
    page.select_option("#problem", "words")
    page.fill("#text-inputs", "one <b>two</b> " + "more " * 20)
    answer(page)
    text = explained(page)
    assert "Experts used" in text and "encoder" in text and "decoder" in text and "50 %" in text
    rows = page.locator("#explanation .map").first.locator("tbody tr")
    assert rows.count() == 23 and rows.nth(1).locator("th").inner_text() == "<B>TWO</B>"
    share = rows.nth(1).locator("td").nth(1).get_attribute("title")
    assert share == "<B>TWO</B> → <b>two</b>: 100 %"
    colours = page.evaluate(
        "[...document.querySelectorAll('#explanation .map tbody tr:first-child td')].slice(0, 2)"
        ".map(cell => getComputedStyle(cell).backgroundColor)"
    )
    assert colours[0] != colours[1]
    shares = page.locator("#explanation .map.written td.w")
    assert max(shares.evaluate_all("cells => cells.map(cell => cell.offsetHeight)")) < 40  # one line each
    page.fill("#text-inputs", "again")
    answer(page)
    assert page.is_hidden("#explanation")
    page.select_option("#problem", "captions")
    page.set_input_files("#file-inputs", folder / "light.png")
    page.wait_for_selector(".drop img")
    answer(page)
    explained(page)
    labels = [each.get_attribute("aria-label") for each in page.locator("#explanation canvas").all()]
    assert labels == ["light: most in row 1 of 2, column 1 of 2", "⏎: most in row 1 of 2, column 2 of 2"]
    corner = "c => [...c.getContext('2d').getImageData({}, 2, 1, 1).data]"
    first = page.locator("#explanation canvas").first
    left, right = (first.evaluate(corner.format(x)) for x in (2, 150))
    assert left[0] - left[2] > 60 and right[0] == right[1] == right[2]  # orange where it looked, else grey
    page.select_option("#problem", "tones")
    page.set_input_files("#file-inputs", folder / "tone.wav")
    page.wait_for_selector(".drop audio")
    answer(page)
    assert "1.0 s" in explained(page)
    assert page.evaluate("document.querySelector('#explanation img').naturalWidth") > 50
    labels = [each.get_attribute("aria-label") for each in page.locator("#explanation canvas").all()]
    assert labels == ["8000: most at 0.1 s", "samples: most at 0.3 s", "⏎: most at 0.5 s"]
    page.select_option("#problem", "shades")
    page.set_input_files("#file-inputs", folder / "light.png")
    page.wait_for_selector(".drop img")
    answer(page)
    assert "not written by attention" in explained(page)
    assert not said


def test_several_inputs(opened):
    page, folder, *_ = opened
    page.select_option("#problem", "asked")
    page.set_input_files("#file-picture", folder / "light.png")
    page.wait_for_selector(".drop img")
    assert answer(page)[1] == "Nothing to answer yet: give question."
    page.fill("#text-question", "why")
    assert answer(page) == ("light WHY", "")


def test_it_fits_a_phone(opened):
    page, *_ = opened
    for problem in ("words", "asked"):
        page.select_option("#problem", problem)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
