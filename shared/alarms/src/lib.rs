//! The CloudWatch adapter: the state of the alarms a release is judged by.
