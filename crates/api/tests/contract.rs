//! What the contract promises beside its types: its README and the comments in its descriptors.

use api::{
    FILE_DESCRIPTOR_SET, Reason,
    rule::{Constraint, FieldRule},
};
use prost::Message;
use prost_types::FileDescriptorSet;

const README: &str = include_str!("../../../proto/README.md");

#[test]
fn the_readme_lists_every_reason_beside_its_code() {
    for reason in Reason::ALL {
        let name = format!("`{reason}`");
        let row = README.lines().find(|line| line.starts_with('|') && line.contains(&name));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the README"));
        let code = format!("{:?}", reason.code());
        let listed = row.replace('_', "").to_uppercase();
        let same_name = row.contains("of the same name");
        let code_is_reason = reason.as_str().replace('_', "") == code.to_uppercase();
        let matches =
            if same_name { code_is_reason } else { listed.contains(&code.to_uppercase()) };
        assert!(matches, "{name} is not beside {code}");
    }
}

#[test]
fn the_descriptors_carry_the_constraint_lines() {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let file = set.file.iter().find(|file| file.name().ends_with("/wallet_service.proto")).unwrap();
    let place = file.message_type.iter().position(|it| it.name() == "ChargeWalletRequest").unwrap();
    let amount = [4, i32::try_from(place).unwrap(), 2, 2];
    let mut locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let comment = locations.find(|it| it.path == amount).unwrap().leading_comments();
    let rule = FieldRule::parse(comment).unwrap().unwrap();
    let Some(Constraint::Integer { limits, not: None }) = rule.value else { panic!("{rule:?}") };
    assert_eq!((limits.min, limits.max), (1000, 1_000_000_000));
    assert_eq!(limits.below.as_deref(), Some(Reason::ChargeAmountBelowMinimum.as_str()));
}
