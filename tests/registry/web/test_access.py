"""Who may read, and who may change."""

import pytest

from registry.web import create_app

EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing is bound in these tests
CHANGES = [
    ("POST", "/devices/tokens"),
    ("POST", "/devices/press-1/revoke"),
    ("PUT", "/devices/press-1/assignment"),
    ("POST", "/assignments"),
    ("POST", "/models/ccpp/releases"),
    ("POST", "/models/ccpp/releases/1/signature"),
    ("PUT", "/models/ccpp/champion"),
    ("PUT", "/models/ccpp/policy"),
    ("POST", "/models/ccpp/rows"),
    ("POST", "/datasets?name=a.csv"),
    ("POST", "/jobs"),
    ("POST", "/jobs/1/release"),
    ("POST", "/bundles"),
    ("POST", "/returns"),
    ("POST", "/trust/signatures"),
    ("POST", "/measurements?devices=press-1"),
    ("DELETE", "/measurements/1"),
]


@pytest.fixture
def open_client(home, clock):
    """The same registry, bound beyond this machine."""
    return create_app(home, clock=clock, host=EVERYWHERE).test_client()


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_every_change_needs_the_token(anonymous, method, path):
    response = anonymous(method, path)
    assert response.status_code == 401
    assert response.mimetype == "application/problem+json"
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert "genba registry init" in response.json["detail"]


def test_every_changing_route_is_in_that_list(app):
    found = {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"GET", "HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/v1") and rule.endpoint not in ("enrolment.enrol", "enrolment.renew_certificate")
    }
    assert len(found) == len(CHANGES)


def test_a_wrong_token_is_refused_even_for_reading(client):
    response = client.get("/api/v1/models", headers={"Authorization": "Bearer wrong"})
    assert response.status_code == 401
    assert "wrong" in response.json["detail"]


def test_reading_is_free_on_this_machine(anonymous):
    assert anonymous("GET", "/models").status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"X-Forwarded-For": "10.0.0.7"}, {"Forwarded": "for=10.0.0.7"}]
)
def test_a_rebound_name_or_a_proxy_is_not_this_machine(client, headers):
    assert client.get("/api/v1/models", headers=headers).status_code == 401


def test_beyond_this_machine_reading_needs_the_token(open_client, initialised):
    assert open_client.get("/api/v1/models").status_code == 401
    assert open_client.get("/openapi.json").status_code == 401
    assert open_client.get("/healthz").status_code == 200
    authorised = {"Authorization": f"Bearer {initialised[1]}"}
    assert open_client.get("/api/v1/models", headers=authorised).status_code == 200


def test_beyond_this_machine_pages_lead_to_the_login_and_back(open_client, initialised):
    away = open_client.get("/models/ccpp?every=5")
    assert away.status_code == 302
    assert away.location == "/login?next=/models/ccpp?every%3D5"
    done = open_client.post("/login", data={"token": initialised[1], "next": "/devices"})
    assert (done.status_code, done.location) == (303, "/devices")
    assert open_client.get("/devices").status_code == 200
    open_client.get("/logout")
    assert open_client.get("/devices").status_code == 302


def test_the_login_cookie_is_out_of_reach_of_scripts_and_other_sites(open_client, initialised):
    cookie = open_client.post("/login", data={"token": initialised[1]}).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert initialised[1] not in cookie


def test_a_login_changes_nothing(open_client, initialised):
    open_client.post("/login", data={"token": initialised[1]})
    assert open_client.post("/api/v1/devices/tokens", json={"device": "a", "site": "b"}).status_code == 401


def test_a_login_runs_out(open_client, initialised, home):
    open_client.post("/login", data={"token": initialised[1]})
    (home / "registry.toml").write_text("session_s = -1.0\n")
    later = create_app(home, host=EVERYWHERE).test_client()
    for cookie in open_client._cookies.values():
        later.set_cookie(cookie.key, cookie.value)
    assert later.get("/devices").status_code == 302


def test_a_wrong_login_says_so(open_client):
    response = open_client.post("/login", data={"token": "guess"})
    assert response.status_code == 403
    assert "not a token of this registry" in response.text


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_a_login_leads_to_our_own_pages_alone(open_client, initialised, target):
    assert open_client.post("/login", data={"token": initialised[1], "next": target}).location == "/"
