//! The workflow for GitHub Classroom is YAML, and grades every exercise.

use std::path::Path;

use saphyr::{LoadableYamlNode, Yaml};

#[test]
fn every_exercise_is_graded_and_reported() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = include_str!("../classroom/classroom.yml");
    let documents = Yaml::load_from_str(text).unwrap();
    let steps = documents[0]["jobs"]["run-autograding-tests"]["steps"].as_sequence().unwrap();
    let reporter = steps.last().unwrap();

    let mut names: Vec<_> =
        exercise::find_all(&root).unwrap().into_iter().map(|exercise| exercise.name).collect();
    // The order of the workflow need not be that of the book.
    names.sort();
    let mut graded: Vec<_> = steps
        .iter()
        .filter_map(|step| {
            let id = step.as_mapping_get("id")?.as_str()?.strip_prefix("ex-")?;
            assert_eq!(step["with"]["test-name"].as_str(), Some(id));
            let command = step["with"]["command"].as_str().unwrap();
            assert!(command.contains(&format!("select(.name == \"{id}\")")), "{command}");
            let result = format!("${{{{steps.ex-{id}.outputs.result}}}}");
            let variable = format!("EX-{}_RESULTS", id.to_uppercase());
            assert_eq!(reporter["env"][variable.as_str()].as_str(), Some(result.as_str()));
            Some(id)
        })
        .collect();
    graded.sort();
    assert_eq!(graded, names);
    let mut runners: Vec<_> = reporter["with"]["runners"].as_str().unwrap().split(',').collect();
    runners.sort();
    assert_eq!(runners, names.iter().map(|name| format!("ex-{name}")).collect::<Vec<_>>());
}
