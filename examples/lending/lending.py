"""What a lending library adds to its schema: how many copies of a book are in, what is overdue, and
lending itself."""

from __future__ import annotations

import datetime

import strawberry
from graphql import GraphQLError

from recordgate.extending import Info, extends, record

Loan = record("Loan")
LENT_FOR = datetime.timedelta(days=28)


@extends("Book", needs=("isbn", "copies"))
class Book:
    @strawberry.field(description="How many copies are in the library now.")
    async def available(self, info: Info) -> int:
        return max(0, self.copies - len(await out(info, self.isbn)))


@strawberry.type
class Query:
    @strawberry.field(
        description="Loans that should have come back by a day; today where none is given."
    )
    async def overdue(self, info: Info, day: datetime.date | None = None) -> list[Loan]:
        day = day or datetime.date.today()
        late = {"due": {"lt": day.isoformat()}, "returned": {"eq": False}}
        return await info.context.records.loans(filter=late, order_by=[{"due": "ASC"}])


@strawberry.type
class Mutation:
    @strawberry.mutation(description="Lend a copy of a book. Refused where all copies are out.")
    async def lend(self, info: Info, isbn: str, reader: str, number: int) -> Loan:
        book = await info.context.records.book(isbn)
        if book is None:
            raise GraphQLError(f"there is no book {isbn}")
        if len(await out(info, isbn)) >= book.copies:
            raise GraphQLError(f"all copies of {book.title} are out")
        loan = {
            "id": number,
            "isbn": isbn,
            "reader": reader,
            "due": (datetime.date.today() + LENT_FOR).isoformat(),
            "returned": False,
        }
        await info.context.records.write("createLoan", input=loan)
        return await info.context.records.loan(number)


async def out(info: Info, isbn: str) -> list:
    """Return the loans of a book that has not come back."""
    lent = {"isbn": {"eq": isbn}, "returned": {"eq": False}}
    return await info.context.records.loans(filter=lent, first=100)
