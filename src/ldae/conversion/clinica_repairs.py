"""Repairs that stand for faults of Clinica 0.12: what to look at when its version changes.

The faults were seen by running 0.12. A newer Clinica may have mended some; a repair of a fault that
is gone can do harm. A test fails when envs/ pins a version that this list was not checked against.
"""

from packaging.version import Version

CHECKED_BELOW = Version("0.13")  # versions for which each repair was seen to be needed

# Where the repair is (module:definition, below ldae) -> the fault of Clinica that it is for.
REPAIRS = {
    "conversion.table_repairs:repair_genotypes": (
        "APOERES is joined with ADNIMERGE by row number, not by subject"
    ),
    "conversion.bids:_WRONG": (
        "apoe_gen1 and apoe_gen2 of participants.tsv are other subjects' values"
    ),
    "conversion.clinica_tables:repeat_a_row": (
        "a DXSUM in which no subject and visit is repeated stops it (ADNI3)"
    ),
    "conversion.table_repairs:repair_diagnoses": "DXSUM needs its diagnoses as numbers",
    "conversion.table_repairs:repair_examinations": (
        "an unknown DX leaves Dementia untranslated in all rows; a blank EXAMDATE stops it"
    ),
    "conversion.table_repairs:repair_visits": (
        "a visit code outside sc, bl, m*, f, uns1 stops it; CDR's screening rows are dropped"
    ),
    "conversion.table_repairs:repair_scans": "a ScanDate other than YYYY-MM-DD stops it",
    "conversion.table_repairs:repair_quality": "MRIQUALITY needs S before numbers of series",
    "conversion.table_repairs:repair_mayo": "a blank quality grade, or an image again, stops it",
    "conversion.clinica_tables:supported_subjects": "subjects of ADNI4 stop it",
    "conversion.clinica_exclusions:exclude_scans": (
        "visits without a scan to choose stop it (int(None), IndexError); a lone visit is joined "
        "with a scan at any distance in time"
    ),
    "conversion.clinica_exclusions:LEFT_OUT": "ten visits are left out by name",
    "conversion.clinica:make_link_tree": (
        "upper-case extensions, and XML files beside images, stop it; names of today's tables "
        "(conversion.loni_tables) are not known"
    ),
    "conversion.batch:convert_batch": (
        "one bad image stops the whole run; lost scans end it with status 0; a killed run leaves "
        "uncentred images that the next one takes for done"
    ),
    "conversion.study_repairs:BEFORE": "other studies: see the functions",
    "conversion.study_finish:AFTER": "other studies: see the functions",
}


def unchecked_repairs(clinica: str) -> list[str]:
    """Repairs to take out, or to see needed again, with this version of Clinica; empty below 0.13.

    Returns:
        One line a repair: where it is, and the fault that it is for.
    """
    if Version(clinica) < CHECKED_BELOW:
        return []
    return [f"{where}: {fault}" for where, fault in REPAIRS.items()]
