"""Amounts of money as text."""


def usd(amount: float) -> str:
    """An amount as text: `12.34 USD`. Less than one has six decimals: a small batch costs a fraction of a cent."""
    return f"{amount:,.2f} USD" if amount >= 1 else f"{amount:.6f} USD"
