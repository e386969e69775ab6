"""The tests; every process that imports any of them is patient."""

from tests.harness.patience import be_patient

be_patient()
