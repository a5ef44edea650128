"""The shop of the sync tests and more: a key that is two natural foreign keys, embedded two levels
deep, records that refer to their own type, and people of whom not everybody may see everything."""

from __future__ import annotations

from pathlib import Path

from stores.contract.load import load_contract
from stores.contract.model import Contract
from tests import sync_world

FILE = "shop.odcs.yaml"

_ROLES = """
roles:
  - {role: hr, access: read}
  - {role: staff, access: read}
"""

_MORE = """
  - name: tag
    physicalName: tags
    customProperties:
      - {property: embed, vendor: recordgate, value: [{relation: taggings, embed: [product]}]}
    properties:
      - {name: name, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true}
      - name: title
        logicalType: string
        customProperties:
          - {property: search, vendor: recordgate, value: {text: true, facet: true, sort: true}}
      - name: parentName
        physicalName: parent_name
        logicalType: string
        relationships:
          - {id: parent, to: tag.name, customProperties: [{property: inverse, vendor: recordgate, value: children}]}
  - name: tagging
    physicalName: taggings
    properties:
      - name: tagName
        physicalName: tag_name
        logicalType: string
        primaryKey: true
        primaryKeyPosition: 1
        required: true
        relationships:
          - {id: tag, to: tag.name, customProperties: [{property: inverse, vendor: recordgate, value: taggings}]}
      - name: sku
        logicalType: string
        primaryKey: true
        primaryKeyPosition: 2
        required: true
        relationships:
          - {id: product, to: product.sku, customProperties: [{property: inverse, vendor: recordgate, value: taggings}]}
      - {name: weight, logicalType: number}
  - name: department
    physicalName: departments
    customProperties:
      - {property: rowFilter, vendor: recordgate, value: {staff: {open: {eq: true}}}}
    properties:
      - {name: code, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: open, logicalType: boolean, customProperties: [{property: search, vendor: recordgate, value: {facet: true}}]}
      - name: name
        logicalType: string
        customProperties:
          - {property: search, vendor: recordgate, value: {text: true, suggest: true, sort: true}}
  - name: person
    physicalName: people
    customProperties:
      - {property: plural, vendor: recordgate, value: people}
      - {property: embed, vendor: recordgate, value: [department]}
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - name: name
        logicalType: string
        customProperties:
          - {property: search, vendor: recordgate, value: {text: true, suggest: true, sort: true}}
      - name: salary
        logicalType: integer
        customProperties:
          - {property: search, vendor: recordgate, value: {facet: true, sort: true}}
          - {property: readRoles, vendor: recordgate, value: [hr]}
      - name: diagnosis
        logicalType: string
        customProperties:
          - {property: search, vendor: recordgate, value: {text: true, suggest: true, facet: true}}
          - {property: readRoles, vendor: recordgate, value: [hr]}
      - name: email
        logicalType: string
        customProperties:
          - {property: search, vendor: recordgate, value: {text: true}}
          - {property: masking, vendor: recordgate, value: {staff: partial}}
      - name: departmentCode
        physicalName: department_code
        logicalType: string
        relationships:
          - {id: department, to: department.code, customProperties: [{property: inverse, vendor: recordgate, value: people}]}
"""

CONTRACT = sync_world.CONTRACT.replace("\nschema:\n", f"{_ROLES}schema:\n", 1).rstrip("\n") + _MORE


def large_shop(folder: Path) -> Contract:
    """Write the contract into `folder` and load it."""
    file = folder / FILE
    file.write_text(CONTRACT, "utf-8")
    return load_contract(file)
