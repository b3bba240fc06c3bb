"""A package is everything a mail needs and nothing from outside its root, and survives its snapshot."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.content import compile as compile_mail
from mailer.content.contract import MailSpec, Package
from mailer.content.lint import Severity, findings
from mailer.content.manifest import manifest
from mailer.content.packages import load
from mailer.content.snapshot import digest, pack, unpack
from mailer.errors import TemplateError

SPEC = MailSpec(sender="a@acme.example", subject="Hello")


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_folder_comes_with_what_it_uses(tmp_path):
    root = tree(
        tmp_path,
        {
            "news/body.html": '{% extends "_layouts/base.html" %}{% include "other/part.html" %}',
            "news/img/logo.png": "PNG",
            "news/.hidden": "x",
            "_layouts/base.html": '<img src="../other/pic.png">',
            "other/part.html": "part",
            "other/pic.png": "PNG",
            "other/unused.html": "unused",
        },
    )

    assert sorted(load(root, "news").files) == [
        "_layouts/base.html", "news/body.html", "news/img/logo.png", "other/part.html", "other/pic.png",
    ]  # fmt: skip


def test_one_file_is_a_mail(tmp_path):
    package = load(
        tree(tmp_path, {"mail.html": '<img src="a.png" alt="">', "a.png": "PNG", "b.png": "x"}), "mail.html"
    )

    assert (package.root, sorted(package.files)) == ("mail.html", ["a.png", "mail.html"])
    assert compile_mail(package, SPEC).variants.keys() == {""}


@pytest.mark.parametrize("name", ["../secret", "/etc", "news/../../secret", "", ".", "a\\b", "a\0b"])
def test_the_root_is_a_wall(tmp_path, name):
    tree(tmp_path, {"secret/body.html": "x", "t/news/body.html": "x"})

    with pytest.raises(TemplateError):
        load(tmp_path / "t", name)


@pytest.mark.parametrize("link", ["body.html", "folder"])
def test_links_that_lead_out_are_refused(tmp_path, link):
    tree(tmp_path, {"secret/x.html": "secret", "t/news/body.txt": "x"})
    (tmp_path / "t" / "news" / link).symlink_to(tmp_path / "secret" / "x.html")

    with pytest.raises(TemplateError, match="leads out"):
        load(tmp_path / "t", "news")


def test_what_is_there_is_named(tmp_path):
    root = tree(tmp_path, {"news/body.html": "x", "bill/text.html": "x"})

    with pytest.raises(TemplateError, match="There is: bill, news"):
        load(root, "newz")
    with pytest.raises(TemplateError, match=r"none of body.html.*\n  There is: text.html"):
        load(root, "bill")
    with pytest.raises(TemplateError, match="folder does not exist"):
        load(tmp_path / "gone", "news")


def test_large_files_are_refused(tmp_path):
    with pytest.raises(TemplateError, match="larger than"):
        load(tree(tmp_path, {"news/body.html": "x" * 1_000_001}), "news")


NAMES = st.text("abc/.", min_size=1, max_size=8)
FILES = st.dictionaries(NAMES, st.binary(max_size=20), max_size=4)
SPECS = st.builds(
    MailSpec,
    sender=st.text(max_size=9),
    subject=st.none() | st.text(max_size=9),
    cc=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    headers=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    types=st.dictionaries(st.text(max_size=5), st.sampled_from(["text", "date"]), max_size=3),
    one_click=st.booleans(),
)


@given(st.builds(Package, root=NAMES, files=FILES, shared=FILES), SPECS)
def test_a_snapshot_is_the_package(package, spec):
    snapshot, blobs = pack(package, spec)

    again = unpack(json.loads(json.dumps(snapshot)), blobs.__getitem__)

    assert again == (package, spec)
    assert digest(*again) == digest(package, spec)


def test_the_digest_sees_every_change():
    package = Package("m", {"m/body.txt": b"x"})
    others = [
        (Package("m", {"m/body.txt": b"y"}), SPEC),
        (Package("m", {"m/body.txt": b"x"}, {"a": b""}), SPEC),
        (package, MailSpec(sender="a@acme.example", subject="Hello!")),
    ]

    assert digest(package, SPEC) not in {digest(*other) for other in others}


def test_damaged_content_is_refused():
    snapshot, _ = pack(Package("m", {"m/body.txt": b"x"}), SPEC)

    with pytest.raises(TemplateError, match="damaged"):
        unpack(snapshot, lambda _: b"y")


def test_the_manifest_is_typed():
    def of(text):
        return manifest(Package("m", {"m/body.txt": b"", "m/mail.toml": text.encode()}))

    read = of(
        'subject = "S"\nfrom = "a@b.example"\nvariables = ["x"]\nsensitive = true\n'
        '[sample]\nx = 1\n[languages.de]\nsubject = "D"'
    )
    assert (read.subject, read.sender, read.variables, read.sensitive, read.sample) == (
        "S", "a@b.example", ("x",), True, {"x": 1},
    )  # fmt: skip
    assert read.languages["de"].subject == "D"
    with pytest.raises(TemplateError, match="unknown key 'subjct'\n  Did you mean 'subject'"):
        of('subjct = "S"')
    with pytest.raises(TemplateError, match="sensitive must be a true or false"):
        of('sensitive = "yes"')
    with pytest.raises(TemplateError, match="not valid TOML"):
        of("x")


def test_lint_names_what_is_odd():
    files = {
        "m/body.html": b"<p>\n<a href={{ url }}>x</a>\n<img src='https://a.example/x.png'>"
        b"\n<a href='javascript:x'>y</a></p><style>/*{# x #}*/</style>"
    }
    package = Package("m", files)

    found = findings(package, SPEC, compile_mail(package, SPEC), columns=["link"])

    assert {(one.severity, one.line, one.message.split(":")[0][:40]) for one in found} == {
        (Severity.WRONG, 2, "href={{ … }} without quotes"),
        (Severity.ODD, 3, "this picture has no alt text"),
        (Severity.WRONG, 4, "javascript"),
        (Severity.ODD, 4, "'{#' in CSS begins a Jinja comment"),
        (Severity.ODD, None, "there is no body.txt"),
        (Severity.ODD, None, "bulk mail without list_unsubscribe"),
        (Severity.WRONG, None, "{{ url }} is no column. There is"),
    }


@pytest.mark.parametrize("source", ["file:///C:/logo.png", "C:\\pictures\\a.png", "/img/a.png"])
def test_lint_names_pictures_that_nobody_can_load(source):
    page = f"<p>\n<img alt='' src='{source}'><img alt='' src='//cdn.example/a.png'></p>"
    package = Package("m", {"m/body.html": page.encode(), "m/body.txt": b"x"})

    wrong = [one for one in findings(package, SPEC, compile_mail(package, SPEC)) if one.severity == "wrong"]

    assert [(one.line, source in one.message.replace("\\\\", "\\")) for one in wrong] == [(2, True)]


def test_lint_names_a_body_that_is_not_used():
    mjml = b"<mjml><mj-body></mj-body></mjml>"
    package = Package("m", {"m/body.html": b"x", "m/body.mjml": mjml, "m/body.txt": b"x"})

    found = [one.message for one in findings(package, SPEC, compile_mail(package, SPEC))]

    assert "m/body.html is not used: m/body.mjml comes first" in found


def test_lint_is_silent_about_a_good_mail():
    package = Package("m", {"m/body.html": b'<img alt="" src="{{ url }}">', "m/body.txt": b"{{ url }}"})
    spec = MailSpec(sender="a@acme.example", subject="x", list_unsubscribe=["https://acme.example/{{ url }}"])

    assert findings(package, spec, compile_mail(package, spec), columns=["url"]) == []
