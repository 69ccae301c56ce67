"""The Accounting API as one table: what each resource is called, what it needs, and what can be done with it.

Records keep what they are given, under Xero's own member names. Each stands by itself: a payment changes no
invoice, a transaction makes no journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.simulator.wire import singular_of

READ = ""
FULL = "PUT POST POST/"
NUMBERS = frozenset({"Amount", "BankAmount", "CurrencyRate"})
"""Members that are numbers, also where XML or a string brings them. Members that end in `Date` are dates."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource. Members are named as in JSON."""

    plural: str
    id: str
    key: str = ""
    """Unique beside the id: a record is found by it too, and a POST with it updates."""
    can: str = FULL
    """Besides GET: methods of the collection, with `/` those of a record; `DELETE/204` has no body."""
    needs: tuple[str, ...] = ()
    """Members without which nothing is saved."""
    types: str = ""
    """What `Type` may be; empty where it is not checked."""
    unique_for: str = ""
    """The only `Type` of which the key is unique; empty: of all."""
    number: tuple[str, str] = ("", "")
    """A member that gets the next number where it is empty, and how that is written."""
    lines: bool = False
    """Whether `LineItems` are added up."""
    days: Mapping[str, int] = field(default_factory=dict)
    """Dates that a new record has, in days from now."""
    new: Mapping[str, Any] = field(default_factory=dict)
    """What a new record has besides."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Lists inside of a record that have paths of their own, and their id members."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Xero's own words for an `unknown` id, a `taken` key and for members that are missing."""
    seeds: tuple[Mapping[str, Any], ...] = ()
    """What every organisation has from the start."""

    @property
    def singular(self) -> str:
        """What one record is called."""
        return singular_of(self.plural)

    @property
    def named(self) -> bool:
        """Whether the id is the client's to choose."""
        return self.id == self.key


_DRAFT = {"Status": "DRAFT", "LineAmountTypes": "Exclusive", "LineItems": [], "CurrencyCode": "NZD"}
_CREDIT = {"Status": "AUTHORISED", "SubTotal": 0.0, "TotalTax": 0.0, "Total": 0.0, "RemainingCredit": 0.0}
_ALLOCATIONS = {"Allocations": "AllocationID"}
_TAKEN_NAME = (
    "The contact name {} is already assigned to another contact. "
    "The contact name must be unique across all active contacts."
)

RESOURCES = (
    Resource(
        "Accounts",
        "AccountID",
        "Code",
        "PUT POST/ DELETE/200",
        ("Code", "Name", "Type"),
        new={"Status": "ACTIVE", "TaxType": "NONE"},
        words={"taken": "Please enter a unique Code."},
        seeds=(
            {"Code": "090", "Name": "Business Bank Account", "Type": "BANK", "BankAccountNumber": "12345678"},
            {"Code": "200", "Name": "Sales", "Type": "REVENUE", "Class": "REVENUE"},
            {"Code": "400", "Name": "Advertising", "Type": "EXPENSE", "Class": "EXPENSE"},
        ),
    ),
    Resource(
        "BankTransactions",
        "BankTransactionID",
        needs=("Contact", "LineItems", "BankAccount"),
        types="RECEIVE RECEIVE-OVERPAYMENT RECEIVE-PREPAYMENT SPEND SPEND-OVERPAYMENT SPEND-PREPAYMENT",
        lines=True,
        days={"Date": 0},
        new={**_DRAFT, "Status": "AUTHORISED", "IsReconciled": False},
    ),
    Resource(
        "BankTransfers",
        "BankTransferID",
        can="PUT",
        needs=("FromBankAccount", "ToBankAccount", "Amount"),
        days={"Date": 0},
    ),
    Resource(
        "BatchPayments",
        "BatchPaymentID",
        needs=("Account", "Payments"),
        days={"Date": 0},
        new={"Status": "AUTHORISED", "Type": "PAYBATCH"},
    ),
    Resource("BrandingThemes", "BrandingThemeID", can=READ, seeds=({"Name": "Standard", "SortOrder": 0},)),
    Resource("Budgets", "BudgetID", can=READ, seeds=({"Type": "OVERALL", "BudgetLines": []},)),
    Resource(
        "ContactGroups",
        "ContactGroupID",
        "Name",
        "PUT POST/",
        ("Name",),
        new={"Status": "ACTIVE", "Contacts": []},
        parts={"Contacts": "ContactID"},
    ),
    Resource(
        "Contacts",
        "ContactID",
        "Name",
        needs=("Name",),
        new={"ContactStatus": "ACTIVE", "Addresses": [], "Phones": []},
        words={
            "unknown": "Unable to find contact with the specified contact Id",
            "taken": _TAKEN_NAME,
            "Name": "The contact name cannot be empty.",
        },
    ),
    Resource(
        "CreditNotes",
        "CreditNoteID",
        "CreditNoteNumber",
        needs=("Contact",),
        types="ACCPAYCREDIT ACCRECCREDIT",
        unique_for="ACCRECCREDIT",
        number=("CreditNoteNumber", "CN-{:04}"),
        lines=True,
        days={"Date": 0},
        new={**_DRAFT, "Allocations": []},
        parts=_ALLOCATIONS,
    ),
    Resource(
        "Currencies",
        "Code",
        "Code",
        "PUT",
        ("Code",),
        seeds=({"Code": "NZD", "Description": "New Zealand Dollar"},),
    ),
    Resource("Employees", "EmployeeID", needs=("FirstName", "LastName"), new={"Status": "ACTIVE"}),
    Resource("ExpenseClaims", "ExpenseClaimID", "", "PUT POST/", ("User", "Receipts")),
    Resource(
        "Invoices",
        "InvoiceID",
        "InvoiceNumber",
        needs=("Contact",),
        types="ACCPAY ACCREC",
        unique_for="ACCREC",
        number=("InvoiceNumber", "INV-{:04}"),
        lines=True,
        days={"Date": 0, "DueDate": 30},
        new={**_DRAFT, "AmountPaid": 0.0, "AmountCredited": 0.0, "Payments": []},
        words={"taken": "Invoice # must be unique."},
    ),
    Resource("Items", "ItemID", "Code", f"{FULL} DELETE/204", ("Code",)),
    Resource(
        "Journals",
        "JournalID",
        "JournalNumber",
        READ,
        seeds=({"JournalNumber": 1, "JournalDate": "2026-01-01", "JournalLines": []},),
    ),
    Resource(
        "LinkedTransactions",
        "LinkedTransactionID",
        "",
        "PUT POST/ DELETE/204",
        ("SourceTransactionID", "SourceLineItemID"),
        new={"Status": "DRAFT", "Type": "BILLABLEEXPENSE"},
    ),
    Resource(
        "ManualJournals",
        "ManualJournalID",
        needs=("Narration", "JournalLines"),
        days={"Date": 0},
        new={"Status": "DRAFT", "LineAmountTypes": "NoTax"},
    ),
    Resource(
        "Overpayments",
        "OverpaymentID",
        can=READ,
        parts=_ALLOCATIONS,
        seeds=({"Type": "RECEIVE-OVERPAYMENT", **_CREDIT, "Allocations": []},),
    ),
    Resource("PaymentServices", "PaymentServiceID", "", "PUT", ("PaymentServiceName",)),
    Resource(
        "Payments",
        "PaymentID",
        needs=("Account", "Amount"),
        days={"Date": 0},
        new={"Status": "AUTHORISED"},
    ),
    Resource(
        "Prepayments",
        "PrepaymentID",
        can=READ,
        parts=_ALLOCATIONS,
        seeds=({"Type": "RECEIVE-PREPAYMENT", **_CREDIT, "Allocations": []},),
    ),
    Resource(
        "PurchaseOrders",
        "PurchaseOrderID",
        "PurchaseOrderNumber",
        needs=("Contact", "LineItems"),
        number=("PurchaseOrderNumber", "PO-{:04}"),
        lines=True,
        days={"Date": 0},
        new=_DRAFT,
    ),
    Resource(
        "Quotes",
        "QuoteID",
        "QuoteNumber",
        needs=("Contact",),
        number=("QuoteNumber", "QU-{:04}"),
        lines=True,
        days={"Date": 0},
        new={**_DRAFT, "LineAmountTypes": "EXCLUSIVE"},
    ),
    Resource(
        "Receipts",
        "ReceiptID",
        "",
        "PUT POST/",
        ("Contact", "LineItems", "User"),
        lines=True,
        days={"Date": 0},
        new=_DRAFT,
    ),
    Resource(
        "RepeatingInvoices",
        "RepeatingInvoiceID",
        needs=("Contact", "LineItems", "Schedule"),
        types="ACCPAY ACCREC",
        lines=True,
        new=_DRAFT,
    ),
    Resource(
        "TaxRates",
        "Name",
        "Name",
        "PUT POST",
        ("Name", "TaxComponents"),
        number=("TaxType", "TAX{:03}"),
        new={"Status": "ACTIVE"},
        seeds=(
            {
                "Name": "15% GST on Income",
                "TaxType": "OUTPUT2",
                "DisplayTaxRate": 15.0,
                "EffectiveRate": 15.0,
                "TaxComponents": [{"Name": "GST", "Rate": 15.0, "IsCompound": False}],
            },
        ),
    ),
    Resource(
        "TrackingCategories",
        "TrackingCategoryID",
        "Name",
        "PUT POST/ DELETE/200",
        ("Name",),
        new={"Status": "ACTIVE", "Options": []},
        parts={"Options": "TrackingOptionID"},
    ),
    Resource(
        "Users",
        "UserID",
        can=READ,
        seeds=({"EmailAddress": "demo@example.org", "IsSubscriber": True, "OrganisationRole": "STANDARD"},),
    ),
)

BY_ENDPOINT = {resource.plural.lower(): resource for resource in RESOURCES}
"""Paths are compared without case."""
