from __future__ import annotations

from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest

from proxy.simulator.answers import Answer
from proxy.simulator.xero import Xero
from tests.simulator.calls import API, ask, bill, call, field, make, said


def get(xero: Xero, path: str) -> Any:
    answer = ask(xero, call(path=f"{API}/{path}"))
    assert answer.status == 200, answer
    return said(answer)


def save(xero: Xero, method: str, path: str, value: object, **headers: str) -> Answer:
    return ask(xero, call(method, f"{API}/{path}", value, **headers))


def saved(xero: Xero, method: str, path: str, value: object) -> Any:
    answer = save(xero, method, path, value)
    assert answer.status == 200, answer
    return said(answer)[path.partition("/")[0]][0]


def errors(answer: Answer) -> list[str]:
    assert (answer.status, said(answer)["ErrorNumber"]) == (400, 10)
    return [e["Message"] for element in said(answer)["Elements"] for e in element["ValidationErrors"]]


def unlimited() -> Xero:
    return make(minute_limit=10_000)


def test_a_contact_is_created_read_and_updated() -> None:
    xero = make()
    made = saved(xero, "PUT", "Contacts", {"Contacts": [{"Name": "Ada", "EmailAddress": "a@example.org"}]})
    path = f"Contacts/{made['ContactID']}"
    assert get(xero, path)["Contacts"][0]["Name"] == "Ada"
    assert saved(xero, "POST", path, {"EmailAddress": "b@example.org"})["ContactID"] == made["ContactID"]
    assert get(xero, path)["Contacts"][0]["EmailAddress"] == "b@example.org"
    assert (
        saved(xero, "POST", "Contacts", {"Name": "ada", "FirstName": "A"})["ContactID"] == made["ContactID"]
    )


def test_a_contact_needs_a_name_of_its_own() -> None:
    xero = make()
    saved(xero, "PUT", "Contacts", {"Name": "Ada"})
    other = saved(xero, "PUT", "Contacts", {"Name": "Bob"})
    assert "already assigned" in errors(save(xero, "PUT", "Contacts", {"Name": "ADA"}))[0]
    assert (
        "already assigned" in errors(save(xero, "POST", f"Contacts/{other['ContactID']}", {"Name": "Ada"}))[0]
    )
    assert errors(save(xero, "PUT", "Contacts", {"Name": ""})) == ["The contact name cannot be empty."]
    assert "Unable to find" in errors(save(xero, "POST", "Contacts/unknown", {"Name": "C"}))[0]


def test_a_renamed_contact_frees_its_name() -> None:
    xero = make()
    made = saved(xero, "PUT", "Contacts", {"Name": "Ada"})
    saved(xero, "POST", f"Contacts/{made['ContactID']}", {"Name": "Eve"})
    assert saved(xero, "PUT", "Contacts", {"Name": "Ada"})["ContactID"] != made["ContactID"]


def test_an_invoice_is_totalled_and_dated_as_xero_does() -> None:
    xero = make(epoch=0.0)
    value = {**bill("r"), "Type": "ACCREC", "Date": "2024-02-29", "DueDate": "/Date(1710000000000+0000)/"}
    invoice = saved(xero, "PUT", "Invoices", {"Invoices": [value]})
    assert (invoice["SubTotal"], invoice["TotalTax"], invoice["Total"]) == (4.5, 0.45, 4.95)
    assert (invoice["AmountDue"], invoice["Status"], invoice["InvoiceNumber"]) == (4.95, "DRAFT", "INV-0001")
    assert (invoice["Date"], invoice["DateString"]) == ("/Date(1709164800000+0000)/", "2024-02-29T00:00:00")
    assert invoice["DueDate"] == "/Date(1710000000000+0000)/"
    contact = get(xero, f"Contacts/{invoice['Contact']['ContactID']}")["Contacts"][0]
    assert contact["Name"] == "Paper & Co"
    assert get(xero, "Invoices/INV-0001")["Invoices"] == [invoice]


def test_an_update_keeps_what_it_does_not_name() -> None:
    xero = make()
    made = saved(xero, "PUT", "Invoices", bill("before"))
    path = f"Invoices/{made['InvoiceID']}"
    changed = saved(xero, "POST", path, {"Status": "AUTHORISED", "Reference": None})
    assert (changed["Status"], changed["Reference"], changed["Total"]) == ("AUTHORISED", "before", 4.95)


def test_the_number_of_a_sale_is_unique_and_that_of_a_bill_is_not() -> None:
    xero = make()
    for kind, statuses in (("ACCREC", [200, 400]), ("ACCPAY", [200, 200])):
        value = {**bill("r"), "Type": kind, "InvoiceNumber": f"N-{kind}"}
        assert [save(xero, "PUT", "Invoices", value).status for _ in range(2)] == statuses
    made = saved(xero, "POST", "Invoices", {**bill("s"), "Type": "ACCREC", "InvoiceNumber": "N-ACCREC"})
    assert len(get(xero, "Invoices")["Invoices"]) == 3
    assert made["Reference"] == "s"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Type": "GIFT"}, "Invoice type is invalid"),
        ({"Contact": {}}, "Contact cannot be empty."),
        ({"LineItems": "none"}, "Input string was not in a correct format."),
        ({"LineItems": [{"Quantity": -1}]}, "Line item quanitites cannot be negative"),
        ({"LineItems": [{"Quantity": "many"}]}, "Input string was not in a correct format."),
        ({"LineItems": [{"Quantity": []}]}, "Input string was not in a correct format."),
        ({"Date": "tomorrow"}, "Input string was not in a correct format."),
        ({"InvoiceID": "unknown"}, "Invoice could not be found"),
    ],
)
def test_a_bad_invoice_is_refused(change: dict[str, object], message: str) -> None:
    assert errors(save(make(), "PUT", "Invoices", {**bill("r"), **change})) == [message]


def test_one_bad_element_stops_all_unless_each_is_asked_for() -> None:
    xero, value = make(), {"Contacts": [{"Name": "Ada"}, {"Name": ""}]}
    assert save(xero, "PUT", "Contacts", value).status == 400
    assert get(xero, "Contacts")["Contacts"] == []
    answer = save(xero, "PUT", "Contacts?summarizeErrors=false", value)
    good, bad = said(answer)["Contacts"]
    assert (answer.status, good["StatusAttributeString"]) == (200, "OK")
    assert (bad["StatusAttributeString"], bad["HasValidationErrors"]) == ("ERROR", True)
    assert len(get(xero, "Contacts")["Contacts"]) == 1


def test_a_list_comes_in_pages() -> None:
    xero = unlimited()
    for number in range(25):
        saved(xero, "PUT", "Contacts", {"Name": f"C{number:02}"})
    names, page = [], 1
    while found := (answer := get(xero, f"Contacts?page={page}&pageSize=10"))["Contacts"]:
        names += [contact["Name"] for contact in found]
        assert answer["pagination"] == {"page": page, "pageSize": 10, "pageCount": 3, "itemCount": 25}
        page += 1
    assert names == [f"C{number:02}" for number in range(25)]
    assert page == 4
    assert len(get(xero, "Contacts")["Contacts"]) == 25
    assert save(xero, "GET", "Contacts?page=one", None).status == 400


def test_a_list_is_filtered() -> None:
    xero = unlimited()
    ids = []
    for kind, status in (("ACCREC", "DRAFT"), ("ACCREC", "AUTHORISED"), ("ACCPAY", "DRAFT")):
        ids.append(saved(xero, "PUT", "Invoices", {**bill("r"), "Type": kind, "Status": status})["InvoiceID"])
    contact = get(xero, "Contacts")["Contacts"][0]["ContactID"]

    def found(query: str) -> list[int]:
        return [ids.index(i["InvoiceID"]) for i in get(xero, f"Invoices?{query}")["Invoices"]]

    assert found("Statuses=AUTHORISED,PAID") == [1]
    assert found(f"IDs={ids[0]},{ids[2]}") == [0, 2]
    assert found("InvoiceNumbers=INV-0002") == [1]
    assert found(f"ContactIDs={contact}") == [0, 1, 2]
    assert found("where=" + quote('Type=="ACCREC" AND Status=="DRAFT"')) == [0]
    assert found("where=" + quote(f'Contact.ContactID == guid("{contact}") && Type=="ACCPAY"')) == [2]
    assert found("where=" + quote('Type.Name=="x"')) == []
    answer = save(xero, "GET", "Invoices?where=" + quote("AmountDue > 3"), None)
    assert (answer.status, said(answer)["Type"]) == (400, "QueryParseException")


def test_organisations_do_not_see_each_other() -> None:
    xero = make()
    saved(xero, "PUT", "Contacts", {"Name": "Ada"})
    assert said(ask(xero, call(path=f"{API}/Contacts", tenant="t2")))["Contacts"] == []


def test_without_accept_json_everything_is_xml() -> None:
    xero = make()
    answer = save(xero, "PUT", "Invoices", bill("r"), accept="")
    assert field(answer, b"Content-Type") == "text/xml; charset=utf-8"
    tree = ET.fromstring(answer.body)  # noqa: S314 - our own output
    assert (tree.tag, tree.findtext("Status")) == ("Response", "OK")
    assert tree.findtext("Invoices/Invoice/LineItems/LineItem/LineAmount") == "4.5"
    assert "T" in (tree.findtext("Invoices/Invoice/Date") or "")
    assert b"<IsDemoCompany>true<" in save(xero, "GET", "Organisation", None, accept="").body
    refused = save(xero, "PUT", "Contacts", {"Name": ""}, accept="")
    assert refused.body.startswith(
        b"<ApiException><ErrorNumber>10</ErrorNumber><Type>ValidationException</Type>"
    )
    assert b"<ValidationError><Message>The contact name" in refused.body


def test_xml_is_read_alone_and_in_a_form() -> None:
    xero = make()
    xml = (
        "<Invoices><Invoice><Type>ACCPAY</Type><Contact><Name>Ada</Name></Contact>"
        "<LineItems><LineItem><UnitAmount>2.50</UnitAmount></LineItem></LineItems></Invoice></Invoices>"
    )
    form = f"xml={quote(xml)}".encode()
    urlencoded = "application/x-www-form-urlencoded"
    for answer in (
        save(xero, "PUT", "Invoices", xml.encode()),
        save(xero, "PUT", "Invoices", form, content_type=urlencoded),
    ):
        assert said(answer)["Invoices"][0]["Total"] == 2.5
    one = save(xero, "PUT", "Contacts", b"<Contact><Name>Bob</Name></Contact>")
    assert said(one)["Contacts"][0]["Name"] == "Bob"


@pytest.mark.parametrize("body", [b"", b"{", b"<Contacts", b"[1]", b"\xff"])
def test_a_body_that_cannot_be_read_is_refused(body: bytes) -> None:
    answer = save(make(), "PUT", "Contacts", body)
    assert (answer.status, said(answer)["ErrorNumber"]) == (400, 14)
    assert said(answer)["Type"] == "PostDataInvalidException"


def test_an_attachment_comes_back_byte_for_byte() -> None:
    xero, content = make(), bytes(range(256)) * 5000
    path = "Invoices/one/Attachments"
    uploaded = save(xero, "PUT", f"{path}/a%20b.png", content, content_type="image/png")
    (about,) = said(uploaded)["Attachments"]
    assert (about["FileName"], about["ContentLength"]) == ("a b.png", len(content))
    for name in ("a%20b.png", about["AttachmentID"]):
        answer = ask(xero, call(path=f"{API}/{path}/{name}"))
        assert answer.body == content
        assert field(answer, b"Content-Type") == "image/png"
    assert get(xero, path)["Attachments"] == [about]
    save(xero, "PUT", f"{path}/c.pdf", b"%PDF")
    assert get(xero, path)["Attachments"][1]["MimeType"] == "application/pdf"
    assert save(xero, "GET", f"{path}/none", None).status == 404
    assert save(xero, "DELETE", f"{path}/c.pdf", None).status == 404


def test_a_report_exists_and_an_unknown_path_does_not() -> None:
    xero = make()
    assert get(xero, "Reports/BalanceSheet?date=2024-01-01")["Reports"][0]["ReportID"] == "BalanceSheet"
    for path in (f"{API}/Unknown", "/nowhere", f"{API}/Contacts/none", f"{API}/"):
        answer = ask(xero, call(path=path))
        assert (answer.status, answer.body) == (404, b"The resource you're looking for cannot be found")
        assert field(answer, b"Content-Type") == "text/html; charset=utf-8"


def test_a_method_that_xero_does_not_have_is_not_implemented() -> None:
    answer = save(make(), "POST", "Organisation", {})
    assert (answer.status, said(answer)["Type"]) == (501, "ApiMethodNotImplementedException")
    assert save(make(), "DELETE", "Contacts/one", None).status == 501


def test_connections_lists_a_demo_organisation_until_one_is_used() -> None:
    xero = make()
    (demo,) = said(ask(xero, call(path="/connections", tenant="")))
    assert demo["tenantType"] == "ORGANISATION"
    assert ask(xero, call(tenant=demo["tenantId"])).status == 200
    assert ask(xero, call("DELETE", "/connections/none", tenant="")).status == 404
    assert ask(xero, call("POST", "/connections", tenant="")).status == 404
