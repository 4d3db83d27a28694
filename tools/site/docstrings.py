"""What the API reference shows of the code.

This runs inside the builder, as an extension of griffe, which reads the code for it.
"""

from __future__ import annotations

from typing import Any

from griffe import Attribute, Class, Extension, Module, Object

from tools.site.docstrings_as_markdown import markdown

_LABELS_OF_FIELDS = {"class-attribute", "instance-attribute", "module-attribute"}


# Where types are checked, griffe isn't there: it comes with the builder.
class PlainDocstrings(Extension):  # type: ignore[misc]
    """Turns roles into code, and leaves out what says nothing to a reader."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
        obj.labels -= _LABELS_OF_FIELDS

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Rewrite the docstring of a package: `on_object` isn't told of it."""
        self.on_object(obj=pkg)

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Leave out attributes that only keep what the constructor was given."""
        for name, member in list(cls.members.items()):
            if isinstance(member, Attribute) and _only_keeps(member):
                del cls.members[name]


def _only_keeps(attribute: Attribute) -> bool:
    return not attribute.docstring and str(attribute.value) == str(attribute.name)
