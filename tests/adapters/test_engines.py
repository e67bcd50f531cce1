"""Search engines: submitted searches and typed text are told apart, and neighbours are left alone."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from audit.adapters import Engine, search_engines


@pytest.mark.parametrize(
    ("host", "target", "engine", "term"),
    [
        (
            "www.google.com",
            "/search?client=firefox&q=sheepskin+boots%21&oq=she",
            "google",
            "sheepskin boots!",
        ),
        ("www.google.co.uk", "/search?q=%E2%82%AC+rate", "google", "€ rate"),
        ("www.bing.com", "/search?q=zx4q8", "bing", "zx4q8"),
        ("duckduckgo.com", "/?q=marble+otter", "duckduckgo", "marble otter"),
        ("html.duckduckgo.com", "/html/?q=marble", "duckduckgo", "marble"),
        ("yandex.ru", "/search/?text=%D0%B4%D0%BE%D0%BC&lr=213", "yandex", "дом"),
        ("ya.ru", "/search/touch/?text=a", "yandex", "a"),
        ("www.baidu.com", "/s?ie=utf-8&wd=%E7%8C%AB", "baidu", "猫"),
        ("m.baidu.com", "/from=844b/s?word=%C3%A8%DF%E4", "baidu", "猫咪"),
        ("fr.search.yahoo.com", "/search;_ylt=A0?p=chat", "yahoo", "chat"),
        ("search.brave.com", "/search?q=a", "brave", "a"),
        ("www.qwant.com", "/?q=a&t=web", "qwant", "a"),
        ("search.naver.com", "/search.naver?where=nexearch&query=a", "naver", "a"),
        ("search.seznam.cz", "/?q=a", "seznam", "a"),
        ("m.sogou.com", "/web/searchList.jsp?keyword=a", "sogou", "a"),
        ("www.so.com", "/s?q=a", "so360", "a"),
        ("go.mail.ru", "/search?q=a", "mail-ru", "a"),
        ("www.startpage.com", "/sp/search?query=a", "startpage", "a"),
        ("www.ecosia.org", "/search?q=a", "ecosia", "a"),
    ],
)
def test_results_page(host: str, target: str, engine: str, term: str) -> None:
    search = search_engines().results_page(host, target)
    assert search is not None
    assert (search.engine.id, search.term) == (engine, term)
    assert search_engines().suggestion(host, target) is None


@pytest.mark.parametrize(
    ("host", "target", "engine", "text"),
    [
        (
            "www.google.de",
            "/complete/search?client=chrome-omni&gs_ri=chrome-ext-ansg&xssi=t&q=marb&oit=1",
            "google",
            "marb",
        ),
        ("www.bing.com", "/osjson.aspx?query=ma&language=en", "bing", "ma"),
        ("www.bing.com", "/qbox?query=ma&pt=EdgBox&cvid=1&cp=2", "bing", "ma"),
        ("suggestion.baidu.com", "/su?wd=ma", "baidu", "ma"),
        ("duckduckgo.com", "/ac/?q=marble+ot&type=list", "duckduckgo", "marble ot"),
        ("suggest.yandex.com.tr", "/suggest-ff.cgi?part=ma&", "yandex", "ma"),
        ("ac.ecosia.org", "/autocomplete?q=ma", "ecosia", "ma"),
        ("ac.ecosia.org", "?q=ma&mkt=de", "ecosia", "ma"),
        ("search.brave.com", "/api/suggest?q=ma&rich=true", "brave", "ma"),
        ("suggests.go.mail.ru", "/chrome?q=ma", "mail-ru", "ma"),
        ("api.qwant.com", "/api/suggest/?q=ma", "qwant", "ma"),
        ("sug.so.360.cn", "/suggest?word=ma", "so360", "ma"),
        ("sugg.sogou.com", "/sugg/ajaj_json.jsp?type=addrbar&key=ma", "sogou", "ma"),
        ("search.yahoo.com", "/sugg/chrome?output=fxjson&command=ma", "yahoo", "ma"),
        ("ac.search.naver.com", "/nx/ac?of=os&q=ma", "naver", "ma"),
        ("suggest.seznam.cz", "/fulltext_ff?phrase=ma", "seznam", "ma"),
    ],
)
def test_suggestion(host: str, target: str, engine: str, text: str) -> None:
    search = search_engines().suggestion(host, target)
    assert search is not None
    assert (search.engine.id, search.term) == (engine, text)
    assert search_engines().results_page(host, target) is None


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("notgoogle.com", "/search?q=a"),
        ("google.com.example", "/search?q=a"),
        ("www.google.com", "/search"),
        ("www.google.com", "/search?q="),
        ("www.google.com", "/searchbyimage?q=a"),
        ("www.google.com", "/gen_204?q=a"),
        ("duckduckgo.com", "/about?q=a"),
        ("example.test", "/complete/search?q=a"),
        ("c.bingapis.com", "/api/custom/opal/search?q=url:example.test"),
        ("", ""),
        ("." * 5000, "?q=a"),
    ],
)
def test_neighbours_are_left_alone(host: str, target: str) -> None:
    assert search_engines().results_page(host, target) is None
    assert search_engines().suggestion(host, target) is None


def test_every_engine_names_its_sources() -> None:
    for engine in search_engines().engines:
        assert engine.source
        assert all(page.source and page.parameters for page in engine.results + engine.suggestions)
    ids = [engine.id for engine in search_engines().engines]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("engine", search_engines().engines, ids=lambda engine: engine.id)
def test_its_own_examples(engine: Engine) -> None:
    for example in engine.example:
        url = urlsplit(example.url)
        target = f"{url.path}?{url.query}"
        submitted = search_engines().results_page(url.netloc, target)
        typed = search_engines().suggestion(url.netloc, target)
        assert (submitted.term if submitted else "") == example.term, example
        assert (typed.term if typed else "") == example.typed, example
        assert all(found.engine is engine for found in (submitted, typed) if found)
    assert any(example.term for example in engine.example)
    assert bool(engine.suggestions) == any(example.typed for example in engine.example)
    assert any(not example.term and not example.typed for example in engine.example)
