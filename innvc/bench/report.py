def write(plan, outcome, settings):
    return {"points": [r for c in outcome.curves.values() for r in c], "remarks": outcome.remarks, "failed": outcome.failed}
