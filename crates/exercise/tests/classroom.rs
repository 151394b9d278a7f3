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

    let names: Vec<_> =
        exercise::find_all(&root).unwrap().into_iter().map(|exercise| exercise.name).collect();
    let graded = steps.iter().filter_map(|step| {
        let id = step.as_mapping_get("id")?.as_str()?.strip_prefix("ex-")?;
        assert_eq!(step["with"]["test-name"].as_str(), Some(id));
        let command = step["with"]["command"].as_str().unwrap();
        assert!(command.contains(&format!("select(.name == \"{id}\")")), "{command}");
        let result = format!("${{{{steps.ex-{id}.outputs.result}}}}");
        let variable = format!("EX-{}_RESULTS", id.to_uppercase());
        assert_eq!(reporter["env"][variable.as_str()].as_str(), Some(result.as_str()));
        Some(id)
    });
    assert_eq!(graded.collect::<Vec<_>>(), names);
    let runners: Vec<_> = names.iter().map(|name| format!("ex-{name}")).collect();
    assert_eq!(reporter["with"]["runners"].as_str(), Some(runners.join(",").as_str()));
}
